"""`python -m airports` tells the story on the terminal; see `--help` for the others."""

import sys
from argparse import ArgumentParser

parser = ArgumentParser(prog="python -m airports", description="Tell a story about a cache.")
choice = parser.add_mutually_exclusive_group()
choice.add_argument("--redis", action="store_true", help="two processes and one Valkey server")
choice.add_argument(
    "--serve",
    type=int,
    nargs="?",
    const=8000,
    metavar="PORT",
    help="serve it for a browser and curl, on the loopback address (port 8000)",
)
options = parser.parse_args()

if options.serve is not None:
    from airports.serve import main as serve

    sys.exit(serve(options.serve))
if options.redis:
    from airports.fleet import main
else:
    from airports.story import main

sys.exit(main())
