"""What owns entries, a decorated function or a declared `Cache`, and where it keeps them."""
