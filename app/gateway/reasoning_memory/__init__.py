"""Past reasoning of clients that do not send it back."""
