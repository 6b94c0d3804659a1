"""The content blocks of a message, and its tools: requests and responses share them."""
