"""What a server keeps for clients of Responses: histories, conversations, work in the background."""
