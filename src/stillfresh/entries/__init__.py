"""The entries of one namespace: how they are looked at, packed, kept near, and changed."""
