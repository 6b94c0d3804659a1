"""Prices tokens: a bundled table of list prices, overridden by the operator's own rows.

Costs are summed exactly, in billionths of a US dollar. Without a price there is no cost: None, never 0.
"""

from __future__ import annotations

import functools
import re
import tomllib
from collections.abc import Mapping
from fractions import Fraction
from importlib import resources
from typing import NamedTuple

import msgspec

from app.conversation.response import Usage
from app.settings import PriceSettings, PriceStep

# Billionths of a dollar in a dollar. A price of 0.075 dollars per million tokens is 75 billionths per token.
DOLLAR = 1_000_000_000
# A price per million tokens in millionths of a dollar equals the price per token in trillionths.
MILLION = 1_000_000
TRILLIONTHS = 1000
_STEP_FIELDS = ("input", "output", "cache_read", "cache_write", "cache_write_1h")

# `-20250929`, `-2025-09-29`, `-latest`, `@20250929` and `-preview` at the end of a model's name.
_DATE = re.compile(r"[-@](?:\d{8}|\d{4}-\d{2}-\d{2}|latest|preview)$")


class _Rates(NamedTuple):
    """Prices per token in trillionths of a dollar, for inputs of more than `above` tokens."""

    above: int
    fresh: int
    read: int
    write: int
    write_1h: int
    output: int


class Tariff:
    """A price converted to whole numbers, to compute costs with."""

    def __init__(self, price: PriceSettings) -> None:
        self.price = price
        steps = [*price.steps, PriceStep(-1, *(getattr(price, name) for name in _STEP_FIELDS))]
        self._rates = [_to_rates(step) for step in sorted(steps, key=lambda step: -step.above)]
        self._search = round((price.search or 0) * DOLLAR) * TRILLIONTHS
        self._image = round((price.image or 0) * DOLLAR) * TRILLIONTHS
        self._media = None if price.media is None else round(price.media * MILLION)
        factors = {"flex": price.batch, "priority": price.priority, "us": price.us}
        self._factors = {tier: _to_fraction(factor) for tier, factor in factors.items() if factor is not None}

    def covers(self, usage: Usage) -> bool:
        """Whether all that was used has a price."""
        price = self.price
        return not (
            (usage.images and price.image is None)
            or (usage.web_searches and price.search is None)
            or (usage.media and price.media is None)
        )

    def bill(self, usage: Usage) -> int:
        """The cost in billionths of a dollar of what has a price, summed exactly and rounded half up."""
        rates = self._rates[-1]
        if len(self._rates) > 1:
            whole = usage.input
            rates = next(rates for rates in self._rates if whole > rates.above)
        cost = (
            usage.fresh * rates.fresh
            + usage.cache_read * rates.read
            + (usage.cache_written - usage.cache_written_1h) * rates.write
            + usage.cache_written_1h * rates.write_1h
            + usage.output * rates.output
        )
        if usage.media and self._media is not None:
            cost += usage.media * (self._media - rates.output)
        for name in (usage.tier, usage.region):
            if name and name in self._factors:
                cost = int(cost * self._factors[name])
        cost += usage.web_searches * self._search + usage.images * self._image
        return (cost + TRILLIONTHS // 2) // TRILLIONTHS


class Prices:
    """Prices by provider and model. A row for `provider/model` wins over one for the model alone."""

    def __init__(self, rows: Mapping[str, PriceSettings]) -> None:
        self._rows = dict(rows)
        self._found: dict[tuple[str, str], Tariff | None] = {}

    def find(self, provider: str, model: str) -> PriceSettings | None:
        """The price of a model, found by its name, or by that without the vendor's prefix, date or context window."""
        tariff = self._find(provider, model)
        return None if tariff is None else tariff.price

    def bill(self, provider: str, model: str, usage: Usage) -> int | None:
        """The cost of one reply in billionths of a dollar, or None if anything in it has no price."""
        key = (provider, model)
        tariff = self._found[key] if key in self._found else self._find(provider, model)
        if tariff is None or ((usage.images or usage.web_searches or usage.media) and not tariff.covers(usage)):
            return None
        return tariff.bill(usage)

    def bill_known(self, provider: str, model: str, usage: Usage) -> int:
        """The cost of what has a price: the least that a budget must count."""
        tariff = self._find(provider, model)
        return 0 if tariff is None else tariff.bill(usage)

    def _find(self, provider: str, model: str) -> Tariff | None:
        key = (provider, model)
        if key not in self._found:
            if len(self._found) >= 4096:  # clients can send any number of names
                self._found.clear()
            price = self._look_up(provider, model)
            self._found[key] = None if price is None else Tariff(price)
        return self._found[key]

    def rows(self) -> Mapping[str, PriceSettings]:
        return self._rows

    def _look_up(self, provider: str, model: str) -> PriceSettings | None:
        names = _names(model)
        for name in (*(f"{provider}/{name}" for name in names), *names):
            if name in self._rows:
                return self._rows[name]
        return None


def load_prices(own: Mapping[str, PriceSettings] = {}) -> Prices:
    """The bundled table, overridden by the operator's rows."""
    return Prices({**_read_bundled(), **own})


@functools.cache
def _read_bundled() -> Mapping[str, PriceSettings]:
    bundled = tomllib.loads((resources.files("app.accounts") / "prices.toml").read_text())
    return msgspec.convert(bundled, dict[str, PriceSettings])


def _to_rates(step: PriceStep) -> _Rates:
    fresh = round(step.input * MILLION)
    read = fresh if step.cache_read is None else round(step.cache_read * MILLION)
    write = fresh if step.cache_write is None else round(step.cache_write * MILLION)
    write_1h = write if step.cache_write_1h is None else round(step.cache_write_1h * MILLION)
    return _Rates(step.above, fresh, read, write, write_1h, round(step.output * MILLION))


def _to_fraction(factor: float) -> Fraction:
    """A factor such as 1.6667 as the simple ratio that it stands for."""
    return Fraction(factor).limit_denominator(100)


def _names(model: str) -> list[str]:
    """The names under which a model's price may be listed, most exact first."""
    plain = model.lower().rpartition("/")[2].partition("[")[0]
    undated = _DATE.sub("", plain)
    return list(dict.fromkeys((model, plain, undated, undated.replace(".", "-"))))
