"""Here the server is started, and says what it found."""
