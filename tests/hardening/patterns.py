"""Every regular expression of the program, as its modules compile it, and texts that are hard for one.

Runs as a program too: it prints what importing the whole of `app` compiles, as JSON.
"""

from __future__ import annotations

import ast
import importlib
import json
import pkgutil
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from re import _constants as codes  # type: ignore[attr-defined]
from re import _parser as parser  # type: ignore[attr-defined]
from typing import Any, NamedTuple

ROOT = Path(__file__).parents[2]
METHODS = ("search", "match", "fullmatch", "sub", "finditer", "findall", "split")


class Found(NamedTuple):
    """One compiled pattern. `methods` are those that the program calls on it, as far as its name shows; else all."""

    module: str
    text: str
    flags: int
    of_bytes: bool
    methods: tuple[str, ...]

    @property
    def compiled(self) -> re.Pattern[Any]:
        return re.compile(self.text.encode("latin-1") if self.of_bytes else self.text, self.flags)


def find_patterns() -> list[Found]:
    """All patterns, found by importing each module in a process of its own that notes what is compiled."""
    command = [sys.executable, "-m", "tests.hardening.patterns"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, check=True, text=True)
    return [Found(*entry[:4], tuple(entry[4])) for entry in json.loads(done.stdout)]


def find_calls_without_a_name() -> Iterator[str]:
    """Places that compile a pattern while they run, which no import can show."""
    for path in sorted((ROOT / "app").rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Call(func=ast.Attribute(value=ast.Name(id="re"), attr=name)) if name in METHODS:
                    yield f"{path.relative_to(ROOT)}:{node.lineno} calls re.{name}"


class Recipe(NamedTuple):
    """A text that may be hard for a pattern: a piece of what it matches, again and again."""

    beginning: str
    piece: str
    end: str

    def make(self, length: int) -> str:
        """The text with about so many characters."""
        return self.beginning + self.piece * max(1, (length - len(self.beginning)) // len(self.piece)) + self.end


def hostile_recipes(pattern: Found) -> Iterator[Recipe]:
    """Each piece of a pattern behind each of its beginnings, with and without an end that spoils the match."""
    tree = parser.parse(pattern.text, pattern.flags & ~re.UNICODE if pattern.of_bytes else pattern.flags)
    units = _units(list(tree))
    pieces = dict.fromkeys(piece for piece in _pieces(units) if piece)
    beginnings = dict.fromkeys(["", *("".join(map(_sample, units[:end])) for end in range(1, len(units) + 1))])
    for piece in (*pieces, "a", "0", " ", '"', "\\", "\n", "<", "{"):
        for beginning in beginnings:
            yield Recipe(beginning, piece, "")
            yield Recipe(beginning, piece, "\x01")


def _units(nodes: list[Any]) -> list[list[Any]]:
    """The parts of a pattern; characters that stand in a row are one."""
    units: list[list[Any]] = []
    for node in nodes:
        if units and node[0] is codes.LITERAL and units[-1][-1][0] is codes.LITERAL:
            units[-1].append(node)
        else:
            units.append([node])
    return units


def _pieces(units: list[list[Any]]) -> Iterator[str]:
    """Samples of the pattern's parts: each run of neighbours, and what is inside of groups and repetitions."""
    samples = [_sample(unit) for unit in units]
    for start in range(len(units)):
        for end in range(start + 1, len(units) + 1):
            yield "".join(samples[start:end])
    for unit in units:
        for inner in _inner(unit[-1]):
            yield from _pieces(_units(inner))


def can_run_on(pattern: Found) -> bool:
    """Whether anything in the pattern repeats without end; what does not takes a fixed time at each place."""
    return any(mark in pattern.text for mark in ("*", "+", ",}"))


def _inner(node: Any) -> list[list[Any]]:
    code, argument = node
    if code in (codes.MAX_REPEAT, codes.MIN_REPEAT, codes.POSSESSIVE_REPEAT):
        return [list(argument[2])]
    if code is codes.SUBPATTERN:
        return [list(argument[3])]
    if code is codes.ATOMIC_GROUP:
        return [list(argument)]
    if code is codes.BRANCH:
        return [list(branch) for branch in argument[1]]
    if code in (codes.ASSERT, codes.ASSERT_NOT):
        return [list(argument[1])]
    return []


def _sample(nodes: list[Any]) -> str:
    return "".join(_sample_one(node) for node in nodes)


def _sample_one(node: Any) -> str:
    """A text that one part of a pattern matches; an optional part is there once."""
    code, argument = node
    match code:
        case codes.LITERAL:
            return chr(argument)
        case codes.NOT_LITERAL:
            return "b" if argument == ord("a") else "a"
        case codes.ANY:
            return "x"
        case codes.IN:
            return _member(argument)
        case codes.MAX_REPEAT | codes.MIN_REPEAT | codes.POSSESSIVE_REPEAT:
            low, _high, body = argument
            return _sample(list(body)) * max(1, low)
        case codes.ASSERT_NOT:
            return ""
    inner = _inner(node)
    return _sample(inner[0]) if inner else ""


def _member(items: list[Any]) -> str:
    tests = [item for item in items if item[0] is not codes.NEGATE]
    within = _is_member(tests)
    negated = items[0][0] is codes.NEGATE
    return next(
        (char for char in 'a0 _-"\n.<{,=\x7f\udc80é' + "".join(map(chr, range(33, 127))) if within(char) != negated),
        "a",
    )


def _is_member(tests: list[Any]) -> Any:
    categories = {
        codes.CATEGORY_DIGIT: str.isdigit,
        codes.CATEGORY_NOT_DIGIT: lambda char: not char.isdigit(),
        codes.CATEGORY_SPACE: str.isspace,
        codes.CATEGORY_NOT_SPACE: lambda char: not char.isspace(),
        codes.CATEGORY_WORD: lambda char: char.isalnum() or char == "_",
        codes.CATEGORY_NOT_WORD: lambda char: not (char.isalnum() or char == "_"),
    }

    def test(char: str) -> bool:
        for code, argument in tests:
            if code is codes.LITERAL and ord(char) == argument:
                return True
            if code is codes.RANGE and argument[0] <= ord(char) <= argument[1]:
                return True
            if code is codes.CATEGORY and categories[argument](char):
                return True
        return False

    return test


def _note_patterns() -> list[tuple[str, str, int, bool]]:
    noted: dict[tuple[str, str, int, bool], None] = {}
    compile_pattern = re.compile

    def note(pattern: Any, flags: Any = 0) -> Any:
        frame = sys._getframe(1)
        compiled = compile_pattern(pattern, flags)
        module = frame.f_globals.get("__name__", "")
        if module.split(".")[0] == "app":
            text = compiled.pattern
            of_bytes = isinstance(text, bytes)
            noted[module, text.decode("latin-1") if of_bytes else text, compiled.flags, of_bytes] = None
        return compiled

    re.compile = note  # type: ignore[assignment]
    import app

    for module in pkgutil.walk_packages(app.__path__, "app."):
        importlib.import_module(module.name)
    return list(noted)


def _methods_by_name() -> dict[str, set[str]]:
    """The methods that are called on a name anywhere in the program."""
    called: dict[str, set[str]] = {}
    for path in (ROOT / "app").rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.Attribute(value=ast.Name(id=name), attr=method) if method in METHODS:
                    called.setdefault(name, set()).add(method)
    return called


def _print_patterns() -> None:
    noted = _note_patterns()
    called = _methods_by_name()
    entries = []
    for module, text, flags, of_bytes in noted:
        wanted = text.encode("latin-1") if of_bytes else text
        names = [
            name
            for name, value in vars(sys.modules[module]).items()
            if isinstance(value, re.Pattern) and value.pattern == wanted and value.flags == flags
        ]
        methods = sorted({method for name in names for method in called.get(name, ())})
        entries.append((module, text, flags, of_bytes, methods or ["search", "fullmatch"]))
    print(json.dumps(entries))


if __name__ == "__main__":
    _print_patterns()
