"""Estimates tokens of text, tools, images and documents."""
