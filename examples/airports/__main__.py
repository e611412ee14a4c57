"""`python -m airports` tells the story on the terminal."""

import sys

from airports.story import main

sys.exit(main())
