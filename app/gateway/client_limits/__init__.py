"""The limits of client keys and providers: what a request is counted with before it is sent, and what it came to."""
