"""This room leads from a model's name, as a client says it, to the upstreams that may answer. No I/O."""
