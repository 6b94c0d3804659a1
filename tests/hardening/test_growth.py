"""Every pattern over foreign text takes time in proportion to it: twice the text, twice the time.

Patterns are found by walking the modules: a new one is measured without a word here.
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import time
from collections.abc import Callable, Iterator
from typing import Any

import msgspec
import pytest

import app

MAX_GROWTH = 2.3
# What takes less for this many characters is not measured well, and would be no harm at a megabyte.
LEAST = 0.01
SIZE = 16_000
_SEARCHING = r"\.(?:search|finditer|findall|sub|subn|split)\b"


def find_patterns(value: object, depth: int = 0) -> Iterator[re.Pattern[Any]]:
    if type(value).__module__.startswith("werkzeug"):
        return  # a proxy, which is nothing outside of a request
    if isinstance(value, re.Pattern):
        yield value
    elif depth < 4 and isinstance(value, tuple | list | frozenset):
        for each in value:
            yield from find_patterns(each, depth + 1)
    elif depth < 4 and isinstance(value, dict):
        yield from find_patterns(list(value.values()), depth + 1)
    elif depth < 4 and isinstance(value, msgspec.Struct):
        yield from find_patterns([getattr(value, name) for name in value.__struct_fields__], depth + 1)


def searching_patterns() -> dict[str, re.Pattern[Any]]:
    """Those that begin anew at each character: all but the ones that their module only lets match a beginning."""
    found: dict[str, re.Pattern[Any]] = {}
    for module in pkgutil.walk_packages(app.__path__, "app."):
        if module.name.startswith(("app.cli", "app.server", "app.settings")):
            continue  # these read what the operator writes
        loaded = importlib.import_module(module.name)
        source = inspect.getsource(loaded)
        for name, value in list(vars(loaded).items()):
            anchored = isinstance(value, re.Pattern) and not re.search(rf"\b{name}{_SEARCHING}", source)
            for pattern in () if anchored else find_patterns(value):
                found.setdefault(repr((pattern.pattern, pattern.flags)), pattern)
    return found


PATTERNS = searching_patterns()


def seeds_of(pattern: re.Pattern[Any]) -> list[str]:
    """What the pattern may begin to match again and again: its own words, alone and with runs behind them."""
    text = pattern.pattern if isinstance(pattern.pattern, str) else pattern.pattern.decode("latin-1")
    plain = re.sub(r"\\s[*+?]*", " ", text)
    plain = re.sub(r"\(\?[a-zA-Z:<=!P]+>?|\[[^\]]*\][*+?]*|\{[0-9,]*\}|[()|*+?^$]", "\x00", plain)
    plain = plain.replace("\\d", "1").replace("\\w", "a").replace("\\", "")
    words = list(dict.fromkeys(word for word in plain.split("\x00") if word.strip()))[:12]
    runs = [" ", "a", "1", ",", '"', "{", "[", "\\", "\n", "<", "`", "\\ud800", "1,", ";a", "a.", "a-", "a_"]
    pairs = [word + run for word in words[:4] for run in (" ", "1", '"')]
    return list(filter(None, [*runs, *words, " ".join(words), "".join(words), *pairs]))


def seconds(pattern: re.Pattern[Any], text: Any) -> float:
    started = time.process_time()
    for _ in pattern.finditer(text):
        pass
    return time.process_time() - started


@pytest.mark.parametrize("key", PATTERNS)
def test_a_pattern_takes_time_in_proportion(key: str, figure: Callable[..., None]) -> None:
    pattern = PATTERNS[key]
    worst = (1.0, "")
    for seed in seeds_of(pattern):
        text = seed * (SIZE // len(seed)) + "\x01"
        foreign: Any = text if isinstance(pattern.pattern, str) else text.encode()
        if seconds(pattern, foreign) >= LEAST:
            half, whole = (min(seconds(pattern, foreign[:size]) for _ in range(5)) for size in (SIZE // 2, SIZE))
            worst = max(worst, (whole / half, seed))

    figure(f"{len(PATTERNS)} patterns that search: growth beyond {MAX_GROWTH}", 0 if worst[0] <= MAX_GROWTH else key, 0)
    assert worst[0] <= MAX_GROWTH, worst
