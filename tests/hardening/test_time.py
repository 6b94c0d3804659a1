"""No text costs more than time in proportion to its length: patterns, and what reads clients' and upstreams' text."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

from tests.hardening.patterns import Found, can_run_on, find_calls_without_a_name, find_patterns, hostile_recipes

Figure = Callable[[str, object, object], None]

# How much longer twice the text may take; 2 is exact proportion, 4 is a square.
ALLOWED = 2.3
# Seconds of processor time from which on a growth can be told, and the length at which a square is far beyond it.
WORTH_MEASURING = 0.004
LONGEST = 32 * 1024


def spend(work: Callable[[Any], object], given: Any) -> float:
    began = time.thread_time()
    work(given)
    return time.thread_time() - began


def growth(work: Callable[[Any], object], make: Callable[[int], Any], longest: int = LONGEST) -> float:
    """time(2n) / time(n) at the first n that takes long enough to tell; 1 where even the longest text takes no time.

    A cache that overflows may make one step of the length dear, so the next one is looked at then.
    """
    length = 128
    while length <= longest:
        if spend(work, make(length)) > WORTH_MEASURING:
            return min(_measure_step(work, make, length))
        length *= 4
    return 1.0


def _measure_step(work: Callable[[Any], object], make: Callable[[int], Any], length: int) -> list[float]:
    """What else the machine does can only make a run longer: of each length the quickest counts, both are measured in
    turn, and again until the ratio is within the limit or it is plain that it is not."""
    ratios: list[float] = []
    for step in (length, 2 * length):
        texts = make(step), make(2 * step)
        times = [float("inf"), float("inf")]
        for tries in range(1, 13):
            times = [min(best, spend(work, text)) for best, text in zip(times, texts, strict=True)]
            if tries >= 3 and times[1] / times[0] <= ALLOWED:
                break
        ratios.append(times[1] / times[0])
        if ratios[-1] <= ALLOWED:
            break
    return ratios


def try_pattern(found: Found, method: str) -> tuple[float, str]:
    """The worst growth of a pattern over the texts that fit it, and that text's beginning."""
    compiled = found.compiled

    def convert(text: str) -> Any:
        return text.encode("latin-1", "replace") if found.of_bytes else text

    def work(text: Any) -> object:
        if method == "sub":
            return compiled.sub(text[:0], text)
        if method == "finditer":
            return sum(1 for _ in compiled.finditer(text))
        return getattr(compiled, method)(text)

    worst = (1.0, "")
    for recipe in hostile_recipes(found):
        ratio = growth(work, lambda length, recipe=recipe: convert(recipe.make(length)))
        worst = max(worst, (ratio, str(recipe)))
        if ratio > ALLOWED:
            break
    return worst


def test_every_pattern_takes_time_in_proportion_to_its_text(figure: Figure) -> None:
    found = [pattern for pattern in find_patterns() if can_run_on(pattern)]
    worst = 1.0

    for pattern in found:
        for method in pattern.methods:
            ratio, text = try_pattern(pattern, method)
            worst = max(worst, ratio)
            assert ratio <= ALLOWED, f"{pattern.module}: {pattern.text} .{method}() grows {ratio:.1f}-fold over {text}"

    assert len(found) > 10
    figure("time of twice the text, worst pattern", f"{worst:.2f} x", f"{ALLOWED} x")
    figure("patterns without end tried", len(found), "all")


def test_no_pattern_is_compiled_where_no_import_shows_it() -> None:
    assert list(find_calls_without_a_name()) == []
