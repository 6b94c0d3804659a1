"""State that a server keeps for Responses clients: histories, conversations, background work."""
