"""The law of runs: events that are moved without being decoded become the same bytes as decoded ones."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from app.errors import UpstreamRefused
from app.gateway.replies.translation import StreamTranslation
from tests.laws.cases import CONTEXT, DIALECTS, every_file, form_of, generous
from tests.laws.test_streams import _anything

Stream = Any
# Texts that are moved as they are, and those that a run must stop at: broken UTF-8, halves of surrogate pairs, what is
# no JSON at all.
PLAIN = ["word ", '"', "\\", "\n\t", "é", "日本", "🎉", "\u2028", "data: {", "}}\\n\\n", "event: error", "%b %d"]
ODD = [rb"", rb"\ud83c", rb"\udf89", b"\xff", b"a\tb", rb"\x", b'", "more": "', b"\xf0\x9f"]
# Insides of no JSON string that look like what is left out of an event.
NOISY = [b'a","obfuscation":"b"}', b'a","sequence_number":5,"b', b'.delta","sequence_number":5,', b'","obfuscation":"x']


def _streams(dialect: ModuleType) -> list[tuple[str, Callable[[], Stream]]]:
    """Every way in which a stream of this dialect goes to a client."""
    ways: list[tuple[str, Callable[[], Stream]]] = [
        (client.NAME, lambda client=client: StreamTranslation(dialect.StreamParser(), client, (), CONTEXT))
        for client in DIALECTS
    ]
    capabilities = msgspec.structs.replace(generous(dialect, _anything(dialect)), first_party=False)
    return [*ways, ("passed", lambda: dialect.StreamPassthrough(CONTEXT, capabilities))]


def _drive(stream: Stream, pieces: Sequence[bytes], *, runs: bool) -> tuple[bytes, int]:
    """All that the client gets, and how many bytes of it came of runs."""
    out, ran = [], 0
    try:
        for piece in pieces:
            told, rest = stream.run(piece) if runs else (b"", piece)
            ran += len(told)
            out += [told, stream.feed(rest)]
        out.append(stream.close())
    except UpstreamRefused as refused:
        out.append(repr(refused.failure).encode())
    return b"".join(out), ran


def _cut(stream: bytes, cuts: Sequence[int]) -> list[bytes]:
    ends = sorted({min(cut, len(stream)) for cut in cuts})
    return [stream[start:end] for start, end in zip([0, *ends], [*ends, len(stream)], strict=True)]


@settings(max_examples=8, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
@pytest.mark.parametrize(("dialect", "path"), every_file("streams"))
def test_recorded_streams_become_the_same_bytes(dialect: ModuleType, path: Path, data: st.DataObject) -> None:
    stream = path.read_bytes()
    pieces = _cut(stream, data.draw(st.lists(st.integers(0, len(stream)), max_size=30)))

    for name, make in _streams(dialect):
        assert _drive(make(), pieces, runs=True)[0] == _drive(make(), pieces, runs=False)[0], name


@settings(max_examples=60, deadline=None)
@given(
    texts=st.lists(st.sampled_from([json.dumps(text)[1:-1].encode() for text in PLAIN]), min_size=1, max_size=30),
    odd=st.lists(st.tuples(st.integers(0, 30), st.sampled_from(ODD)), max_size=2),
    cuts=st.lists(st.integers(0, 12_000), max_size=12),
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_any_texts_become_the_same_bytes(
    dialect: ModuleType, texts: list[bytes], odd: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    for place, text in odd:
        texts.insert(place, text)
    pieces = _cut(_stream_of(dialect, texts), cuts)

    for name, make in _streams(dialect):
        assert _drive(make(), pieces, runs=True)[0] == _drive(make(), pieces, runs=False)[0], name


@settings(max_examples=60, deadline=None)
@given(
    words=st.lists(st.sampled_from(["a", "b ", "ha", "ha", '"', "é"]), min_size=2, max_size=12),
    repeated=st.integers(0, 12),
    cuts=st.lists(st.integers(0, 4000), max_size=8),
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_texts_that_are_sent_over_and_over_become_the_same_bytes(
    dialect: ModuleType, words: list[str], repeated: int, cuts: list[int]
) -> None:
    said = ["".join(words[: number + 1]) if number < repeated else word for number, word in enumerate(words)]
    pieces = _cut(_stream_of(dialect, [json.dumps(text)[1:-1].encode() for text in said]), cuts)

    for name, make in _streams(dialect):
        assert _drive(make(), pieces, runs=True)[0] == _drive(make(), pieces, runs=False)[0], name


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_plain_stream_is_a_run_but_for_its_ends(dialect: ModuleType) -> None:
    stream = _stream_of(dialect, [b"word"] * 200)
    begun = stream.index(b"word") + 400

    for name, make in _streams(dialect):
        out, ran = _drive(make(), [stream[:begun], stream[begun:]], runs=True)
        least = 0 if form_of(dialect.NAME) == "items" and name == "passed" else 0.8
        assert ran >= len(out) * least, name


@pytest.mark.parametrize("dialect", DIALECTS)
def test_long_streams_become_the_same_bytes(dialect: ModuleType) -> None:
    stream = _stream_of(dialect, [b"word"] * 1200)
    pieces = _cut(stream, range(64_000, len(stream), 64_000))

    for name, make in _streams(dialect):
        assert _drive(make(), pieces, runs=True)[0] == _drive(make(), pieces, runs=False)[0], name


@settings(max_examples=30, deadline=None)
@given(
    texts=st.lists(st.sampled_from([json.dumps(text)[1:-1].encode() for text in PLAIN]), min_size=1, max_size=30),
    odd=st.lists(st.tuples(st.integers(0, 30), st.sampled_from([*ODD, *NOISY])), max_size=2),
    cuts=st.lists(st.integers(0, 12_000), max_size=12),
)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_noise_of_vendors_changes_nothing(
    dialect: ModuleType, texts: list[bytes], odd: list[tuple[int, bytes]], cuts: list[int]
) -> None:
    for place, text in odd:
        texts.insert(place, text)
    pieces = _cut(_stream_of(dialect, texts, noisy=True), cuts)

    for name, make in _streams(dialect):
        assert _drive(make(), pieces, runs=True)[0] == _drive(make(), pieces, runs=False)[0], name


@pytest.mark.parametrize("dialect", DIALECTS)
def test_a_stream_with_noise_is_translated_as_a_run(dialect: ModuleType) -> None:
    stream = _stream_of(dialect, [b"word"] * 200, noisy=True)
    begun = stream.index(b"word") + 400

    for name, make in _streams(dialect)[:-1]:
        out, ran = _drive(make(), [stream[:begun], stream[begun:]], runs=True)
        assert ran >= len(out) * 0.7, name


def _stream_of(dialect: ModuleType, texts: Sequence[bytes], *, noisy: bool = False) -> bytes:
    """A whole stream that says these insides of literals, as OpenAI and Anthropic pad their events if it is noisy."""
    stream = _plain_stream_of(dialect, texts)
    if not noisy:
        return stream
    events = stream.split(b"\n\n")[:-1]
    for number, event in enumerate(events):
        padding = b"qX7_b-Z0aLmR3w"[: 1 + number * 5 % 13]
        if form_of(dialect.NAME) == "items":
            events[number] = event.replace(b'.delta",', b'.delta","sequence_number":%d,' % number, 1)
        if not event.endswith(b"}"):
            continue
        if form_of(dialect.NAME) == "messages":
            events[number] = events[number][:-1] + b" " * len(padding) + b"}"
        else:
            events[number] = events[number][:-1] + b',"obfuscation":"%b"}' % padding
    return b"\n\n".join([*events, b""])


def _plain_stream_of(dialect: ModuleType, texts: Sequence[bytes]) -> bytes:
    form = form_of(dialect.NAME)
    if form == "chat":
        head = b'data: {"id":"c1","object":"chat.completion.chunk","created":1,"model":"m","choices":[{"index":0,'
        chunk = head + b'"delta":{"content":"%b"},"finish_reason":null}]}\n\n'
        end = head + b'"delta":{},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'
        return b"".join([chunk % b"", *[chunk % text for text in texts], end])
    if form == "messages":
        events = [
            b'{"type":"message_start","message":{"id":"m1","type":"message","role":"assistant","model":"m","content":[],'
            b'"stop_reason":null,"stop_sequence":null,"usage":{"input_tokens":1,"output_tokens":1}}}',
            b'{"type":"content_block_start","index":0,"content_block":{"type":"text","text":""}}',
            *[b'{"type":"content_block_delta","index":0,"delta":{"type":"text_delta","text":"%b"}}' % t for t in texts],
            b'{"type":"content_block_stop","index":0}',
            b'{"type":"message_delta","delta":{"stop_reason":"end_turn","stop_sequence":null},"usage":{"output_tokens":9}}',
            b'{"type":"message_stop"}',
        ]
    else:
        place = b'"item_id":"i1","output_index":0,"content_index":0'
        item = b'{"type":"message","id":"i1","role":"assistant","status":"completed","content":[]}'
        events = [
            b'{"type":"response.created","response":{"id":"r1","object":"response","model":"m","output":[]}}',
            b'{"type":"response.output_item.added","output_index":0,"item":%b}' % item,
            *[b'{"type":"response.output_text.delta",%b,"delta":"%b"}' % (place, text) for text in texts],
            b'{"type":"response.completed","response":{"id":"r1","object":"response","status":"completed",'
            b'"model":"m","output":[%b]}}' % item,
        ]
    return b"".join([b"event: %b\ndata: %b\n\n" % (event.split(b'"')[3], event) for event in events])
