"""The rules of a shared HTTP cache: pure functions, each beside the section of its RFC."""
