"""Login file formats, one module per family."""
