"""The connections of clients: how many there are, and HTTP on each of them."""
