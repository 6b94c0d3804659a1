"""The HTTP API, one module per API family. It translates nothing and names no provider."""
