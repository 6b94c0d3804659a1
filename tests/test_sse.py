"""Specifies how the bytes of an event stream become payloads, with sseclient-py as the oracle."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sseclient import SSEClient  # type: ignore[import-untyped]

from app.sse import COMMENT_KEEPALIVE, DONE, SseDecoder, encode_event


def decode(*parts: bytes) -> list[bytes]:
    decoder = SseDecoder()
    payloads = [payload for part in parts for payload in decoder.feed(part)]
    return payloads + decoder.close()


@dataclass(frozen=True)
class Case:
    id: str
    text: bytes
    payloads: list[bytes]


CASES = [
    Case(
        "burst of data lines",
        b'data: {"a":1}\n\ndata: {"b":2}\n\ndata: [DONE]\n\n',
        [b'{"a":1}', b'{"b":2}', b"[DONE]"],
    ),
    Case("burst of named events", b"event: a\ndata: 1\n\nevent: b\ndata: 2\n\n", [b"1", b"2"]),
    Case("named and unnamed events", b"data: 1\n\nevent: b\ndata: 2\n\ndata: 3\n\n", [b"1", b"2", b"3"]),
    Case("carriage return and line feed", b"event: a\r\ndata: 1\r\n\r\ndata: 2\r\n\r\n", [b"1", b"2"]),
    Case("carriage return alone", b"event: a\rdata: 1\r\rdata: 2\r\r", [b"1", b"2"]),
    Case("no space after the colon", b"data:1\n\nevent:b\ndata:2\n\n", [b"1", b"2"]),
    Case("only one space belongs to the field", b"data:  1\n\n", [b" 1"]),
    Case("several data lines are joined", b"data: {\ndata: }\n\n", [b"{\n}"]),
    Case("several data lines after a name", b"event: a\ndata: {\ndata: }\n\nevent: a\ndata: 1\n\n", [b"{\n}", b"1"]),
    Case("an empty line of data among others", b"data: 1\ndata\ndata: 2\n\n", [b"1\n\n2"]),
    Case("comments alone", b": OPENROUTER PROCESSING\n\n:\n\n", []),
    Case("comments between and inside", b": a\n\ndata: 1\n\n: b\ndata: 2\n: c\n\n", [b"1", b"2"]),
    Case("empty data", b"data: \n\ndata:\n\ndata\n\ndata: 1\n\n", [b"1"]),
    Case("empty data of named events", b"event: a\ndata: \n\nevent: b\ndata: 1\n\n", [b"1"]),
    Case("names without data", b"event: ping\n\nevent: a\ndata: 1\n\n", [b"1"]),
    Case("id and retry", b"id: 7\nretry: 10\ndata: 1\n\ndata: 2\nid: 8\n\n", [b"1", b"2"]),
    Case("data before the name", b"data: 1\nevent: a\n\n", [b"1"]),
    Case("byte order mark", b"\xef\xbb\xbfdata: 1\n\ndata: 2\n\n", [b"1", b"2"]),
    Case("blank lines around", b"\n\n\ndata: 1\n\n\n\ndata: 2\n\n\n", [b"1", b"2"]),
    Case("no final blank line", b"data: 1\n\ndata: 2\n", [b"1", b"2"]),
    Case("no final line end", b"data: 1\n\ndata: 2", [b"1", b"2"]),
    Case(
        "data that looks like a field",
        b'data: {"t":"data: x"}\n\ndata: event: y\n\n',
        [b'{"t":"data: x"}', b"event: y"],
    ),
    Case("unknown fields", b"database: 1\n\n data: 2\n\ndata: 3\n\n", [b"3"]),
    Case("characters beyond ASCII", "data: ¿qué? 🐉\n\n".encode(), ["¿qué? 🐉".encode()]),
    Case("nothing", b"", []),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_events_become_payloads(case: Case) -> None:
    assert decode(case.text) == case.payloads


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_a_cut_after_each_byte_changes_nothing(case: Case) -> None:
    single_bytes = [case.text[i : i + 1] for i in range(len(case.text))]

    assert decode(*single_bytes) == case.payloads


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.id)
def test_one_cut_anywhere_changes_nothing(case: Case) -> None:
    for cut in range(len(case.text) + 1):
        assert decode(case.text[:cut], case.text[cut:]) == case.payloads


@pytest.mark.parametrize("line_end", [b"\n", b"\r", b"\r\n"])
def test_a_payload_comes_with_its_blank_line_not_later(line_end: bytes) -> None:
    decoder = SseDecoder()

    before = decoder.feed(b"data: 1" + line_end)
    after = decoder.feed(line_end)

    assert (before, after) == ([], [b"1"])


def test_a_cut_between_cr_and_lf_makes_no_blank_line() -> None:
    assert decode(b"data: {\r", b"\ndata: }\r", b"\n\r", b"\n") == [b"{\n}"]


def test_an_encoded_event_is_decoded_to_its_data() -> None:
    stream = COMMENT_KEEPALIVE + encode_event(b'{"a":1}') + encode_event(b'{"b":2}', "ping") + DONE

    payloads = decode(stream)

    assert stream.startswith(b': keep-alive\n\ndata: {"a":1}\n\nevent: ping\ndata: {"b":2}\n\n')
    assert payloads == [b'{"a":1}', b'{"b":2}', b"[DONE]"]


texts = st.text(
    st.characters(codec="utf-8", exclude_characters="\r\n\x0b\x0c\x1c\x1d\x1e\x85\u2028\u2029"), max_size=12
)
data_lines = st.builds("data:{}{}".format, st.sampled_from(["", " "]), texts)
other_lines = st.one_of(
    st.builds("event: {}".format, texts),
    st.builds(":{}".format, texts),
    st.sampled_from(["id: 1", "retry: 5", "data", "nonsense"]),
)
events = st.lists(st.one_of(data_lines, other_lines), min_size=1, max_size=4)
plain_events = st.builds(lambda text: [f"data: {text}"], texts)
named_events = st.builds(lambda text: ["event: a", f"data: {text}"], texts)
streams = st.one_of(
    st.lists(events, max_size=6),
    st.lists(plain_events, max_size=6),
    st.lists(named_events, max_size=6),
    st.lists(st.one_of(plain_events, named_events, events), max_size=6),
)


@given(streams, st.sampled_from(["\n", "\r", "\r\n"]), st.booleans(), st.lists(st.integers(0, 200), max_size=8))
def test_any_framing_and_chunking_gives_what_the_oracle_gives(
    stream: list[list[str]], line_end: str, is_ended: bool, cuts: list[int]
) -> None:
    text = "".join(line_end.join(event) + line_end * 2 for event in stream)
    if not is_ended:
        text = text.rstrip("\r\n")
    wire = text.encode()
    edges = sorted({0, len(wire), *(cut for cut in cuts if cut < len(wire))})
    parts = [wire[start:end] for start, end in pairwise(edges)]

    payloads = decode(*parts)

    # The oracle also reports events with empty data, which say nothing to us.
    expected = [event.data.encode() for event in SSEClient(iter([wire])).events() if event.data]
    assert payloads == expected
