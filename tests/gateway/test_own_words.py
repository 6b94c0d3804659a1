"""Which words of an error are the upstream's own."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.gateway.failures.own_words import LONGEST_REQUEST, own_words

NAME = "Unsupported temperature"


def sent(**fields: Any) -> bytes:
    return json.dumps({"model": "m", "temperature": 0.2, **fields}).encode()


@pytest.mark.parametrize(
    ("message", "request_body"),
    [
        (f"tool '{NAME}' is not a name", sent(tools=[{"function": {"name": NAME}}])),
        (f"tool {NAME.upper()} is not a name", sent(tools=[{"function": {"name": NAME}}])),
        ("tool 'Unsupported\ttemperature' is not a name", sent(tools=[{"function": {"name": NAME}}])),
        ("no property 'unsupported-temperature'", sent(tools=[{"parameters": {"unsupported.temperature": {}}}])),
        ("key 'Unsupported temperature' is odd", sent(metadata={NAME: "x"})),
        ("field 'Unsupported temperature' is odd", sent(**{NAME: "x"})),
        ("a clash: 'Unsupported', 'temperature'", sent(tools=[{"name": "Unsupported"}, {"name": "temperature"}])),
        ("odd: …is this an Unsupported temperature or…", sent(messages=[{"content": f"is this an {NAME} or not?"}])),
        ("odd: Unsupported temperature", json.dumps({"stop": [NAME]}).replace(" t", r"\u0020t").encode()),
        ("odd: Unsupported\u00a0temperature", sent(user="Unsupported\u00a0temperature")),
        ("odd: Unsupported temperature", sent(user="UNSUPPORTED\n\nTEMPERATURE")),
    ],
)  # fmt: skip
def test_what_the_client_wrote_is_left_out(message: str, request_body: bytes) -> None:
    left = own_words(message, request_body).lower()

    assert "unsupported" not in left or "temperature" not in left
    assert left != message.lower()


@pytest.mark.parametrize(
    "message",
    [
        "Unsupported parameter: 'temperature' is not supported with this model.",
        "Unrecognized request argument supplied: temperature",
        "temperature: Extra inputs are not permitted",
    ],
)
def test_what_the_server_says_of_a_field_stays(message: str) -> None:
    prompt = "Set the temperature of the oven; parameters that are unsupported by it are permitted."
    request_body = sent(messages=[{"role": "user", "content": prompt}], tools=[{"name": "get_temperature"}])

    assert own_words(message, request_body) == message


@pytest.mark.parametrize("body", [b"", b"{", b"\xff", b"[" * 100_000, b'"' + b"x" * LONGEST_REQUEST + b'"'])
def test_a_request_that_cannot_be_searched_leaves_no_words(body: bytes) -> None:
    assert own_words("Unsupported parameter: temperature", body) == ""
