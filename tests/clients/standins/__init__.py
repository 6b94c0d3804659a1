"""The upstreams of the real programs: strict where the vendors are strict, and behind each a small scripted model."""
