"""Limits how many requests of one kind a worker answers at a time."""

from __future__ import annotations

from collections.abc import Iterator

from app.errors import TooMany


class Turnstile:
    """Lets `most` in at a time; `refusal` is what the others are told. Is entered by `with`, or by `hold`."""

    def __init__(self, most: int, refusal: str) -> None:
        self._most = most
        self._refusal = refusal
        self.count = 0

    def __enter__(self) -> None:
        if self.count >= self._most:
            raise TooMany(self._refusal)
        self.count += 1

    def __exit__(self, *_fault: object) -> None:
        self.count -= 1

    def hold(self, parts: Iterator[bytes]) -> Iterator[bytes]:
        """A stream that counts from now until it ends or is closed, even if nobody has read any of it. Raises
        TooMany."""
        self.__enter__()
        return _Held(self, parts)


class _Held:
    def __init__(self, turnstile: Turnstile, parts: Iterator[bytes]) -> None:
        self._turnstile: Turnstile | None = turnstile
        self._parts = parts

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            return next(self._parts)
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        turnstile, self._turnstile = self._turnstile, None
        if turnstile is not None:
            turnstile.__exit__()
        close = getattr(self._parts, "close", None)
        if close is not None:
            close()
