"""This file is losses: what a translation could not carry, as data that can be counted, shown and asserted."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

import msgspec

from app.errors import Unsupported

# D: a hint without effect on the answer. W: the answer may differ. E: the answer would be wrong.
LossClass = Literal["D", "W", "E"]
LossPolicy = Literal["normal", "strict", "lenient"]


class Loss(msgspec.Struct, frozen=True):
    """`path` is the field in the client's own request, for example `messages[2].content[0]`."""

    loss: LossClass
    path: str
    why: str


def settle(losses: Iterable[Loss], policy: LossPolicy = "normal") -> list[Loss]:
    """The losses to report, once each; raises Unsupported for the first that the policy does not allow.

    "strict" refuses what would change the answer (W as E), "lenient" reports what would make it wrong (E as W).
    """
    settled = list(dict.fromkeys(losses))
    refused = {"normal": "E", "strict": "WE", "lenient": ""}[policy]
    for loss in settled:
        if loss.loss in refused:
            raise Unsupported(f"{loss.path}: {loss.why}", param=loss.path)
    return settled


def dropped_header(losses: Iterable[Loss]) -> str:
    """Value of the response header `x-dragoman-dropped`: the fields whose loss may change the answer."""
    return ",".join(dict.fromkeys(loss.path for loss in losses if loss.loss != "D"))
