"""Content blocks and tools, shared by requests and responses."""
