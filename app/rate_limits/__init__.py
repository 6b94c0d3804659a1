"""This room counts what the keys of clients use: in a file that the workers of a host share, or in a Redis that hosts
share. It knows names and whole numbers; who has which limit, and what a refusal says, is decided above it."""
