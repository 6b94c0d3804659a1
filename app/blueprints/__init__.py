"""The HTTP API, one module per API family. It does no translation and knows no provider by name."""
