"""Routes a client's model name to upstreams."""
