"""The inspector: requests and replies as they went over the wire, kept for a short time where somebody asked for it."""
