"""HTTP: the rules of a shared cache, and the engine that serves requests by them."""
