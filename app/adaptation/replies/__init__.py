"""Stages of replies, which make up for what an upstream does not do itself, and what they share."""
