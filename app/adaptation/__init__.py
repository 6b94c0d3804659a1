"""Adapts requests to what an upstream can take, and its replies back to what the client asked for.

Each step is a pure function `(request, capabilities, notes) -> request`: it asks the capabilities, says in the notes
what was lost, and where the reply must be turned back it leaves there the maker of a stage. A step that finds nothing
to do returns the request it was given. Steps know no dialect but by the name that blocks, tools and proofs carry, and
they do not import each other; `adapt.py` alone knows their order.
"""
