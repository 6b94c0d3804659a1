"""The messages of a request with all that they hold, and its tools."""
