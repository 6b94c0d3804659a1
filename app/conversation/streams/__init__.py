"""What is done with the events of a stream, whichever dialect they come from."""
