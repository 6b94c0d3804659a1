"""Turns an upstream's reply into the client's."""
