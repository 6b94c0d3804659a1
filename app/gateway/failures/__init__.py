"""What failures say, and what is done about them."""
