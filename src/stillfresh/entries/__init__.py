"""The entries of one namespace: how they are looked at, packed, indexed and changed."""
