"""Checks of single tables, which tell users what is wrong with them."""
