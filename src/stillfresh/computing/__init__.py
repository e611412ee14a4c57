"""A computation under way: who calls, on what it runs, and how long others stand behind it."""
