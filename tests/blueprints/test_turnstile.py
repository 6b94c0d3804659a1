"""A turnstile counts streams from their beginning to their end, however that comes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from app.blueprints.turnstile import Turnstile
from app.errors import TooMany


def stream() -> Iterator[bytes]:
    yield b"one"
    yield b"two"


def leave_unread(parts: Iterator[bytes]) -> None:
    parts.close()  # type: ignore[attr-defined]


def leave_early(parts: Iterator[bytes]) -> None:
    next(parts)
    parts.close()  # type: ignore[attr-defined]


def read_whole(parts: Iterator[bytes]) -> None:
    assert list(parts) == [b"one", b"two"]
    parts.close()  # type: ignore[attr-defined]


@pytest.mark.parametrize("end", [leave_unread, leave_early, read_whole])
def test_a_stream_gives_its_place_back_once(end: Callable[[Iterator[bytes]], None]) -> None:
    turnstile = Turnstile(1, "full")

    end(turnstile.hold(stream()))

    assert turnstile.count == 0
    assert turnstile.hold(stream())


def test_a_full_turnstile_refuses_until_somebody_leaves() -> None:
    turnstile = Turnstile(2, "full")
    first = turnstile.hold(stream())

    with turnstile, pytest.raises(TooMany, match="full"):
        turnstile.hold(stream())
    first.close()  # type: ignore[attr-defined]

    with turnstile:
        assert turnstile.hold(stream())
    assert turnstile.count == 1
