"""Routes a client's model name to upstreams. Does no I/O."""
