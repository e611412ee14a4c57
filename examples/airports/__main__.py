"""`python -m airports` tells the story on the terminal, and with `--redis` that of a fleet."""

import sys
from argparse import ArgumentParser

parser = ArgumentParser(prog="python -m airports", description="Tell a story about a cache.")
parser.add_argument("--redis", action="store_true", help="two processes and one Valkey server")

if parser.parse_args().redis:
    from airports.fleet import main
else:
    from airports.story import main

sys.exit(main())
