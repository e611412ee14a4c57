"""`python -m airports --serve`: the example for a browser and curl, until Ctrl-C."""

from __future__ import annotations

import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path

from airports.database import Database, world
from airports.services import AirportService, CacheWarmer
from stillfresh import App

TRY = """
Serving on http://127.0.0.1:{port}, until Ctrl-C. Try

    curl -i http://127.0.0.1:{port}/airports/LFPB
    curl -i http://127.0.0.1:{port}/airports/LFPB -H 'If-None-Match: *'
    curl -X PATCH 'http://127.0.0.1:{port}/airports/LFPB?name=Le+Bourget'

and in a browser, with its developer tools open:

    http://127.0.0.1:{port}/countries/IS
    http://127.0.0.1:{port}/docs
"""


def application(database: Database) -> App:
    """Make the app that is served."""
    from airports.web import AirportApi

    return App(AirportApi, AirportService, CacheWarmer).provide(Database, database)


def main(port: int) -> int:
    """Serve on the loopback address."""
    missing = [name for name in ("fastapi", "uvicorn") if not find_spec(name)]
    if missing:
        print(f"This needs {', '.join(missing)} from the extra 'example'.", file=sys.stderr)
        return 2
    import uvicorn

    with tempfile.TemporaryDirectory() as directory:
        database = Database(Path(directory) / "airports.sqlite", world())
        print(TRY.format(port=port), flush=True)
        uvicorn.run(application(database), host="127.0.0.1", port=port, log_level="warning")
    return 0
