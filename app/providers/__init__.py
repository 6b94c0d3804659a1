"""This room is the providers: who runs models, under which URL, with which headers, credential and quirks.

A provider knows no client and translates nothing; it takes a body in its own dialect and gives back an exchange.
One module a kind; third parties add one through the entry point group `dragoman.providers`.
"""
