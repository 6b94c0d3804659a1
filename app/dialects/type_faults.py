"""Rewords a decoder's complaint about a value for clients."""

from __future__ import annotations

import re

import msgspec

_TYPES = {
    "int": "an integer",
    "float": "a number",
    "str": "a string",
    "bool": "a boolean",
    "array": "an array",
    "object": "an object",
    "null": "null",
}
_EXPECTED = re.compile(r"Expected `([a-z |]{1,60})`(?:, got `([a-z]{1,20})`| (>=|<=|>|<) (-?[0-9.]{1,24}))?")
_MISSING = re.compile(r"Object missing required field `([^`]{1,80})`")
_BOUNDS = {">=": "of at least", "<=": "of at most", ">": "above", "<": "below"}


def describe_fault(error: msgspec.ValidationError) -> tuple[str, str]:
    """The expected and the received type, and the path of the value below the decoded one (empty for the value
    itself)."""
    what, _, inner = str(error).partition(" - at `$")
    return _reword(what), inner.rstrip("`")


def _reword(what: str) -> str:
    if found := _EXPECTED.fullmatch(what):
        names, got, sign, bound = found.groups()
        types = [name for name in names.split(" | ") if name != "null"] or ["null"]
        expected = " or ".join(_TYPES.get(name, name) for name in types)
        if sign:
            return f"expected {expected} {_BOUNDS[sign]} {float(bound):g}"
        if got is None:
            return f"expected {expected}"
        came = "a decimal number" if got == "float" and "int" in types else _TYPES.get(got, got)
        return f"expected {expected}, but got {came}"
    if found := _MISSING.fullmatch(what):
        return f"the field '{found[1]}' is required"
    return what[:1].lower() + what[1:]
