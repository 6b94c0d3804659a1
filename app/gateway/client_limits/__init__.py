"""The limits of client keys: what a request is counted with before it is sent, and what it came to in the end."""
