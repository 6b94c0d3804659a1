"""The formats of login files, one module for each family."""
