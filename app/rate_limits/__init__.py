"""Counts the use of limits, in a file shared by workers or a Redis shared by hosts. It handles only names and integers.
Other packages decide who has which limit."""
