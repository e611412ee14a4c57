"""Keys: the text of arguments, and templates, patterns and rules over it."""
