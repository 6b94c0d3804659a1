"""The model behind every stand-in: it makes its scripted tool calls, then says what the last tool said."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Call:
    """A tool call. `tool` is the name as its owner knows it; `input` is an object, or the text of a freeform tool."""

    tool: str
    input: Mapping[str, Any] | str


@dataclass(frozen=True)
class Offer:
    """A tool that a request offers, under its name on the wire; `schema` is None for a freeform tool."""

    name: str
    schema: Mapping[str, Any] | None = None
    namespace: str | None = None


@dataclass(frozen=True)
class Say:
    """The end of a turn: text for the user."""

    text: str


@dataclass(frozen=True)
class Use:
    """A call of an offered tool, with its input as the wire wants it: JSON, or the text of a freeform tool."""

    offer: Offer
    input: str


class ScriptedModel:
    """Answers the n-th request of a loop with the n-th call, and the request after the last one with text.

    Where a request offers no tools the model only talks, as it does for titles and other side requests. Where it wants
    an answer by a JSON schema, it gets `structured`.
    """

    def __init__(self, *calls: Call, structured: Mapping[str, Any] | None = None) -> None:
        self._calls = calls
        self._structured = structured

    def answer(self, offers: Sequence[Offer], results: Sequence[str], schema: Mapping[str, Any] | None) -> Say | Use:
        """`results` is what all tool results of the conversation say, in order. Raises LookupError for a tool that
        the script wants and the request does not offer."""
        if offers and len(results) < len(self._calls):
            return _use(self._calls[len(results)], offers)
        if schema is not None and self._structured is not None:
            return Say(json.dumps(self._structured))
        return Say(f"The tool said: {results[-1]}" if results else "There is nothing to do.")


def _use(call: Call, offers: Sequence[Offer]) -> Use:
    """A namespaced tool may be offered under its full name, so the end of the name decides."""
    for offer in offers:
        if offer.name == call.tool or offer.name.endswith(f"__{call.tool}"):
            return Use(offer, _spell_input(call, offer))
    raise LookupError(f"no tool {call.tool} among {[offer.name for offer in offers]}")


def _spell_input(call: Call, offer: Offer) -> str:
    """Free text goes into the one argument of the function that stands for a freeform tool."""
    if not isinstance(call.input, str):
        return json.dumps(call.input)
    if offer.schema is None:
        return call.input
    (argument,) = offer.schema["required"]
    return json.dumps({argument: call.input})


def pieces(text: str, size: int = 9) -> list[str]:
    """A text as a model streams it."""
    return [text[start : start + size] for start in range(0, len(text), size)]
