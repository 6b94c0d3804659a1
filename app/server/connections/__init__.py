"""Client connections: how many there are, and HTTP on each."""
