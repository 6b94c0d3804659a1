"""Streams whose calls of custom tools are restored, from servers that send what no one should."""

from __future__ import annotations

import json

import pytest

from app.dialects.openai_responses.items.custom_calls import CallRestorer, restore_response

ITEM = {"type": "function_call", "id": "fc_1", "name": "patch", "arguments": ""}
OPENING = {"type": "response.output_item.added", "sequence_number": 1, "item": ITEM}
# Its input comes with the end, so an event is added.
DONE = {
    "type": "response.function_call_arguments.done", "sequence_number": 2, "item_id": "fc_1", "arguments": "free",
}  # fmt: skip
DELTA = {"type": "response.function_call_arguments.delta", "sequence_number": 1, "item_id": "fc_1", "delta": '{"a": "'}


def event(fields: dict[str, object]) -> bytes:
    return f"event: {fields['type']}\ndata: {json.dumps(fields)}\n\n".encode()


@pytest.mark.parametrize("number", ["9" * 5000, "9" * 16, '"x"'])
def test_a_number_that_no_server_counts_to_is_left_alone(number: str) -> None:
    restorer = CallRestorer(frozenset({"patch"}))
    for fields in (OPENING, DELTA, DONE):
        restorer.feed(event(fields))
    odd = b'event: x\ndata: {"sequence_number":%b}\n\n' % number.encode()

    assert restorer.feed(odd) == odd
    assert restorer.feed(b'event: x\ndata: {"sequence_number":3}\n\n') == b'event: x\ndata: {"sequence_number":4}\n\n'


@pytest.mark.parametrize("odd", [b"[" * 100_000, b"1e999", b'"\xff"', b'"\\ud800"'])
def test_what_cannot_be_read_keeps_its_bytes(odd: bytes) -> None:
    stream = b'event: x\ndata: {"type":"function_call","x":%b}\n\n' % odd
    whole = b'{"output":[{"type":"function_call","name":"patch"}],"x":%b}' % odd

    assert CallRestorer(frozenset({"patch"})).feed(stream) == stream
    assert restore_response(whole, frozenset({"patch"})) == whole
