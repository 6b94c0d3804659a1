"""Adapts images, documents and other files to what an upstream accepts."""
