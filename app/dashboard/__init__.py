"""This room holds the pages for people: HTML that the server makes, read-only, from what the rooms below know."""
