"""The items of an input or an output, and the tools that they call."""
