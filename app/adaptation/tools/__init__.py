"""Tools, their calls and their results, as one upstream can take them."""
