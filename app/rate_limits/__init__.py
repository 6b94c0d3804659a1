"""Counts the use of limits, in a file shared by workers or a Redis shared by hosts. It knows names and whole numbers;
rooms above decide who has which limit."""
