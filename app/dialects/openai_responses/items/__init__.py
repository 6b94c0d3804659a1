"""Items of an input or output, and tools."""
