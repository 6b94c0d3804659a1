"""Losses: what a translation could not carry, as data that can be counted, shown and asserted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from app.errors import Unsupported

# Ignorable: a hint without effect on the answer. Degrading: the answer may differ. Wrong: it would be wrong.
Severity = Literal["ignorable", "degrading", "wrong"]
LossPolicy = Literal["normal", "strict", "lenient"]


class Loss(msgspec.Struct, frozen=True):
    """`path` is the field in the client's own request, for example `messages[2].content[0]`."""

    severity: Severity
    path: str
    why: str


def settle(losses: Iterable[Loss], policy: LossPolicy = "normal") -> list[Loss]:
    """The losses to report, once each; raises Unsupported for the first that the policy does not allow.

    "strict" refuses what would change the answer, "lenient" reports what would make it wrong.
    """
    settled = list(dict.fromkeys(losses))
    refused = {"normal": ("wrong",), "strict": ("degrading", "wrong"), "lenient": ()}[policy]
    for loss in settled:
        if loss.severity in refused:
            raise Unsupported(f"{loss.path}: {loss.why}", param=loss.path)
    return settled


def dropped_header(losses: Iterable[Loss]) -> str:
    """Value of the response header `x-dragoman-dropped`: the fields whose loss may change the answer."""
    return ",".join(dict.fromkeys(loss.path for loss in losses if loss.severity != "ignorable"))
