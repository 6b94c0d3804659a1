"""Marks the folder of what several tests share."""
