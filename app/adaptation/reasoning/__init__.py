"""How much a model thinks, and what becomes of thoughts: asked for, sent back, and told from text."""
