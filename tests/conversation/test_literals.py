"""Tests of JSON string literals and of the arguments of calls."""

from __future__ import annotations

from itertools import combinations

import pytest

from app.conversation.literals import ObjectEnd, as_object, is_object, literal

ARGUMENTS = [
    ("", "{}", True),
    (" null ", "{}", True),
    (' {"b": 1, "a": 2.0} ', '{"b": 1, "a": 2.0}', True),
    (r'{"l":"x\ud800y"}', r'{"l":"x\ud800y"}', True),
    (r'"{\"a\": 1}"', '{"a": 1}', True),
    ("[]", "{}", True),
    ('[ {"a": 1.0} ]', '{"a": 1.0}', True),
    ("None", "{}", True),
    ("[1, 2]", '{"value":[1, 2]}', True),
    ('"word"', '{"value":"word"}', True),
    ('```json\n{"a": 1}\n```', '{"a": 1}', False),
    ('{"a": ', '{"_raw":"{\\"a\\": "}', False),
    ("word", '{"_raw":"word"}', False),
    ("half \ud800", '{"_raw":"half ?"}', False),
    ("[" * 10_000, '{"_raw":"' + "[" * 10_000 + '"}', False),
]


@pytest.mark.parametrize(("arguments", "expected", "sensible"), ARGUMENTS)
def test_arguments_become_one_object(arguments: str, expected: str, sensible: bool) -> None:
    assert as_object(arguments) == (expected, sensible)


@pytest.mark.parametrize(
    "text",
    ["{}", "{} x", "{}{}", "[{}]", "}{", '"{}"', '{"a":"}"}', '{"a":"\\""}\n', '{"\\\\":[{}]}', '{"a":"\\\\"}}', "x{}"],
)
def test_the_end_of_an_object_is_seen_however_its_text_is_cut(text: str) -> None:
    for first, second in combinations(range(len(text) + 1), 2):
        end = ObjectEnd()
        pieces: list[bytes] = []
        for start, stop in ((0, first), (first, second), (second, len(text))):
            pieces.append(literal(text[start:stop]))
            assert end.is_reached(pieces) == is_object(text[:stop])
