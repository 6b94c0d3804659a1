"""Which changes let a refused request pass: read from the words of the refusal and from what was sent."""
