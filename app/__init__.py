"""This package is Dragoman: any client dialect in, any upstream dialect out."""
