"""Permission requests of programs, and people's answers."""
