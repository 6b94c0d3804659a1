"""Messages of a request, their content and tools."""
