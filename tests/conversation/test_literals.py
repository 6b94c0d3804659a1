"""Tests of JSON string literals and of the arguments of calls."""

from __future__ import annotations

import pytest

from app.conversation.literals import as_object

ARGUMENTS = [
    ("", "{}", True),
    (" null ", "{}", True),
    (' {"b": 1, "a": 2.0} ', '{"b": 1, "a": 2.0}', True),
    (r'{"l":"x\ud800y"}', r'{"l":"x\ud800y"}', True),
    (r'"{\"a\": 1}"', '{"a": 1}', True),
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
