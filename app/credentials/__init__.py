"""Credentials for upstreams: where they are stored, when they are reread, and how they are renewed.

A source returns immutable credentials; a request keeps the one it began with. Files, file formats, the token endpoint
and the rules of renewal each have a module, and only `sources.py` combines them. Nothing here imports flask, and no
secret gets into a log line, an error or a repr.
"""
