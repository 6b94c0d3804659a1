"""Adapts requests to what an upstream supports, and its replies back to what the client asked for.

Each step is a pure function `(request, capabilities, notes) -> request`. It consults the capabilities, notes what was
lost, and, if the reply must be converted back, notes the maker of a stage. A step with nothing to do returns the
request it was given. Steps know dialects only by the names that blocks, tools and proofs carry, and they do not import
each other; only `adapt.py` knows their order.
"""
