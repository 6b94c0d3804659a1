"""What is wrong with a setup, each fault with the command that mends it. Nothing here changes anything."""
