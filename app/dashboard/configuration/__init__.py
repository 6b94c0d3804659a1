"""The configuration file as pages see it: where each setting comes from, and changes to it."""
