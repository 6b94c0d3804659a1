"""Adapts reasoning: the requested effort, reasoning in past turns, and reasoning written as text."""
