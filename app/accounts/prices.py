"""What tokens cost: a bundled table of list prices, and the operator's own rows before it.

A bill is summed exactly, in billionths of a US dollar. What has no price has no cost: None, never 0.
"""

from __future__ import annotations

import re
import tomllib
from collections.abc import Mapping, Sequence
from importlib import resources

import msgspec

from app.conversation.response import Usage
from app.settings import PriceSettings, PriceStep

# Billionths of a dollar in a dollar. A price of 0.075 dollars a million tokens is 75 billionths a token.
DOLLAR = 1_000_000_000
# A price for a million tokens, in millionths of a dollar, is the price of one token in trillionths.
MILLION = 1_000_000
TRILLIONTHS = 1000

# `-20250929`, `-2025-09-29`, `-latest`, `@20250929`, and the names of snapshots of preview models.
_DATE = re.compile(r"[-@](?:\d{8}|\d{4}-\d{2}-\d{2}|latest|preview)$")


class Prices:
    """Prices by provider and model; a row for `provider/model` comes before one for the model alone."""

    def __init__(self, rows: Mapping[str, PriceSettings]) -> None:
        self._rows = dict(rows)
        self._found: dict[tuple[str, str], PriceSettings | None] = {}

    def find(self, provider: str, model: str) -> PriceSettings | None:
        """The price of a model: under its own name, or without its vendor's prefix, its date or its window."""
        key = (provider, model)
        if key not in self._found:
            if len(self._found) >= 4096:  # names come from clients
                self._found.clear()
            self._found[key] = self._look_up(provider, model)
        return self._found[key]

    def rows(self) -> Mapping[str, PriceSettings]:
        return self._rows

    def _look_up(self, provider: str, model: str) -> PriceSettings | None:
        names = _names(model)
        for name in (*(f"{provider}/{name}" for name in names), *names):
            if name in self._rows:
                return self._rows[name]
        return None


def bill(price: PriceSettings, usage: Usage, *, batch: bool = False) -> int:
    """The cost of one answer in billionths of a dollar, summed exactly and rounded half up."""
    step = _step(price, usage.input)
    fresh = round(step.input * MILLION)
    read = fresh if step.cache_read is None else round(step.cache_read * MILLION)
    write = fresh if step.cache_write is None else round(step.cache_write * MILLION)
    write_1h = write if step.cache_write_1h is None else round(step.cache_write_1h * MILLION)
    cost = (
        usage.fresh * fresh
        + usage.cache_read * read
        + (usage.cache_written - usage.cache_written_1h) * write
        + usage.cache_written_1h * write_1h
        + usage.output * round(step.output * MILLION)
    )
    if batch and price.batch is not None:
        cost = cost * round(price.batch * 1000) // 1000
    if usage.web_searches and price.search is not None:
        cost += usage.web_searches * round(price.search * DOLLAR) * TRILLIONTHS
    return (cost + TRILLIONTHS // 2) // TRILLIONTHS


def load_prices(own: Mapping[str, PriceSettings] = {}) -> Prices:
    """The bundled table, with the operator's rows in front."""
    bundled = tomllib.loads((resources.files("app.accounts") / "prices.toml").read_text())
    return Prices({**msgspec.convert(bundled, dict[str, PriceSettings]), **own})


def _step(price: PriceSettings, whole_input: int) -> PriceSettings | PriceStep:
    steps: Sequence[PriceStep] = [step for step in price.steps if whole_input > step.above]
    return max(steps, key=lambda step: step.above) if steps else price


def _names(model: str) -> list[str]:
    """The names under which a row may stand, the most exact first."""
    plain = model.lower().rpartition("/")[2].partition("[")[0]
    undated = _DATE.sub("", plain)
    return list(dict.fromkeys((model, plain, undated, undated.replace(".", "-"))))
