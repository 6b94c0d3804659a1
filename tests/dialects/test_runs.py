"""What is taken for a run of deltas, and what is not."""

from __future__ import annotations

import pytest

from app.dialects.runs import RunReader
from app.sse import EventBuffer


@pytest.mark.parametrize(
    ("data", "texts", "rest"),
    [
        (b'data: {"t":"a"}\n\ndata: {"t":"b"}\n\ndata: {"t":"c', [b"a", b"b"], b'data: {"t":"c'),
        (b'data: {"t":"a"}\n\n: ping\n\n', [b"a"], b": ping\n\n"),
        (b'data: {"t":"a', [], b'data: {"t":"a'),
        (b'data: {"t":"a","b":"c"}\n\n', [], b'data: {"t":"a","b":"c"}\n\n'),
        (b'data: {"t":"a\\"}\n\n', [], b'data: {"t":"a\\"}\n\n'),
        (b'data: {"t":"\\ud83c"}\n\n', [], b'data: {"t":"\\ud83c"}\n\n'),
        (b'data: {"t":""}\n\n', [], b'data: {"t":""}\n\n'),
    ],
)
def test_what_is_no_run_is_left_as_it_is(data: bytes, texts: list[bytes], rest: bytes) -> None:
    runs = RunReader()
    runs.learn(b'data: {"t":"word"}\n\n', b'"word"')
    assert runs.take(data, EventBuffer()) == (texts, rest)


def test_a_stream_whose_events_all_differ_is_not_looked_at_for_ever() -> None:
    runs, unfinished = RunReader(), EventBuffer()
    for number in range(100):
        event = b'data: {"text":"a%d","noise":"%d"}\n\n' % (number, number * 7)
        assert runs.take(event, unfinished) == ([], event)
        runs.learn(event, b'"a%d"' % number)
    assert runs.tired
