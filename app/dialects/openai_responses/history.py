"""This file is the items of a conversation as raw JSON, for whoever keeps them from one response to the next."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from app.dialects.json_bodies import read_body, read_value
from app.dialects.openai_responses.vocabulary import NULL, response_decoder

_input_decoder = msgspec.json.Decoder(str | list[msgspec.Raw] | None)


def input_items(body: bytes) -> list[bytes]:
    """The items of a request's input, each as its JSON text; a string is one message. Raises InvalidRequest."""
    raw = read_body(body).get("input", NULL)
    items = read_value(raw, _input_decoder, "input")
    if isinstance(items, str):
        return [msgspec.json.encode({"type": "message", "role": "user", "content": items})]
    return [bytes(item) for item in items or ()]


def output_items(response: bytes) -> list[bytes]:
    """The items of a response object's output, each as its JSON text."""
    return [bytes(item) for item in response_decoder.decode(response).output or ()]


def replace_input(body: bytes, items: Sequence[bytes]) -> bytes:
    """A request with other input items, all other fields as they are. Raises InvalidRequest."""
    return msgspec.json.encode({**read_body(body), "input": [msgspec.Raw(item) for item in items]})
