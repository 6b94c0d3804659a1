"""Observes requests and replies on the wire: the inspector's recordings and the raw log."""
