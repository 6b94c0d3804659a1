"""Client connections: their number, and HTTP on each of them."""
