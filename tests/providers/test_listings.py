"""How lists of models are read, as the servers of the field write them."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest

from app.errors import UpstreamMalformed
from app.providers.listings import in_seconds, read_entries, stated


class Info(msgspec.Struct):
    window: int | None = None
    efforts: list[str] | None = None


class Entry(msgspec.Struct):
    id: str
    owner: str = ""
    created: float | None = None
    info: Info = msgspec.field(default_factory=Info)


def read(found: Any) -> list[Entry]:
    return read_entries(json.dumps(found).encode(), Entry)


@pytest.mark.parametrize("found", [{"data": [{"id": "a"}]}, {"data": None, "models": [{"id": "a"}]}, [{"id": "a"}]])
def test_a_list_may_stand_in_three_places(found: Any) -> None:
    assert read(found) == [Entry("a")]


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ({"id": "a", "owner": None}, Entry("a")),
        ({"id": "a", "created": "1700000000"}, Entry("a", created=1_700_000_000)),
        ({"id": "a", "created": "yesterday", "owner": "o"}, Entry("a", "o")),
        ({"id": "a", "info": None}, Entry("a")),
        ({"id": "a", "info": {"window": "8192", "efforts": "low,high"}}, Entry("a", info=Info(8192))),
        ({"id": "a", "info": {"window": 8192.0, "price": "0.001"}}, Entry("a", info=Info(8192))),
    ],
)
def test_a_field_with_an_odd_value_counts_as_absent(entry: Any, expected: Entry) -> None:
    assert read({"data": [entry]}) == [expected]


@pytest.mark.parametrize("odd", ["text", None, {}, {"name": "a"}, {"id": None}, {"id": ["a"]}])
def test_an_odd_entry_does_not_hide_the_others(odd: Any) -> None:
    assert read({"data": [odd, {"id": "b"}]}) == [Entry("b")]


@pytest.mark.parametrize("body", [b"", b"<html>", b"3", b'{"data":"x"}', b"\xff"])
def test_what_is_no_list_is_malformed(body: bytes) -> None:
    with pytest.raises(UpstreamMalformed):
        read_entries(body, Entry)


@pytest.mark.parametrize(
    ("date", "seconds"),
    [(None, 0), (-5, 0), (5, 5), (1_700_000_000.7, 1_700_000_000), (1_700_000_000_000, 1_700_000_000), (1e30, 0)],
)
def test_a_date_is_in_seconds_whatever_it_was_written_in(date: float | None, seconds: int) -> None:
    assert in_seconds(date) == seconds


def test_a_limit_of_nothing_is_none_at_all() -> None:
    assert stated(0, -1, None, 8192, 16384) == 8192
    assert stated(0, None) is None
