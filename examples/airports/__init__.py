"""
All airports of the world behind a cache: the example to read first.

Read `services.py` for how stillfresh is used, `database.py` for what is slow
behind it, and `story.py` for what comes out when it runs:

    python -m airports
"""
