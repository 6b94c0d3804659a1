"""Here the settings of clients are changed for good: our own keys alone, seen before, kept beside, and taken back."""
