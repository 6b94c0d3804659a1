"""State that a server stores for Responses clients: histories, conversations, background work."""
