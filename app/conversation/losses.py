"""Losses, as data: what a translation could not carry."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Literal

import msgspec

from app.errors import Unsupported

# Ignorable: a hint without effect on the answer. Degrading: the answer may differ. Wrong: it would be wrong.
Severity = Literal["ignorable", "degrading", "wrong"]
LossPolicy = Literal["normal", "strict", "lenient"]


# Maximum characters of a header that lists losses, and of one field in it.
MAX_HEADER = 2048
MAX_FIELD = 256


class Loss(msgspec.Struct, frozen=True):
    """`path` is the field in the client's own request, for example `messages[2].content[0]`. `lowered` is set if a
    number was only reduced: the requested and the sent value."""

    severity: Severity
    path: str
    why: str
    lowered: tuple[float, float] | None = None


def settle(losses: Iterable[Loss], policy: LossPolicy = "normal") -> list[Loss]:
    """The losses to report, without duplicates; raises Unsupported for the first that the policy forbids.

    "strict" also refuses losses that would change the answer; "lenient" reports even those that would make it wrong.
    """
    settled = list(dict.fromkeys(losses))
    refused = {"normal": ("wrong",), "strict": ("degrading", "wrong"), "lenient": ()}[policy]
    for loss in settled:
        if loss.severity in refused:
            raise Unsupported(f"{loss.path}: {loss.why}", param=loss.path)
    return settled


def list_dropped(losses: Iterable[Loss]) -> tuple[str, ...]:
    """The fields whose loss may change the answer, without duplicates."""
    if losses == []:
        return ()  # the usual case
    return tuple(dict.fromkeys(loss.path for loss in losses if loss.severity != "ignorable" and loss.lowered is None))


def list_lowered(losses: Iterable[Loss]) -> tuple[str, ...]:
    """The limits that were only lowered, each with the requested and the sent value, without duplicates."""
    if losses == []:
        return ()
    lowered = ((loss.path, loss.lowered) for loss in losses if loss.lowered is not None)
    return tuple(dict.fromkeys(f"{path} {asked:g}->{sent:g}" for path, (asked, sent) in lowered))


def lost_headers(losses: Iterable[Loss]) -> dict[str, str]:
    """The response headers that list losses: dropped fields, and values lowered to the allowed maximum."""
    losses = list(losses)
    if not losses:
        return {}
    headers = {"x-dragoman-dropped": list_dropped(losses), "x-dragoman-lowered": list_lowered(losses)}
    return {name: _join_fields(fields) for name, fields in headers.items() if fields}


def _join_fields(fields: Sequence[str]) -> str:
    """The fields as one header value: characters that headers forbid are replaced, and the list is cut at MAX_HEADER
    characters."""
    joined: list[str] = []
    left = MAX_HEADER
    for number, field in enumerate(fields):
        text = "".join(each if " " <= each <= "~" else "?" for each in field[:MAX_FIELD])
        left -= len(text) + 1
        if left < 0:
            joined.append(f"and {len(fields) - number} more")
            break
        joined.append(text)
    return ",".join(joined)
