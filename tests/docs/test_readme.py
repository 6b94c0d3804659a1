"""What the documents claim of clients is what the tests of the genuine programs run."""

from __future__ import annotations

import importlib
import re
from types import ModuleType

import pytest

from tests.docs.blocks import CLIENTS, README

# The columns of the table of clients and upstreams, and the module that each of its rows rests on.
UPSTREAMS = ("OcaStandIn", "ChatStandIn", "AnthropicStandIn", "ResponsesStandIn")
PROGRAMS = {
    "Claude Code": "test_claude_code",
    "Codex": "test_codex",
    "anthropic SDK": "test_anthropic_sdk",
    "openai SDK": "test_openai_sdk",
    **dict.fromkeys(("openai-agents", "LangChain", "Pydantic AI", "AI SDK"), "test_libraries"),
}
TABLE = {
    row[0]: row[1:] for row in re.findall(r"^\| ([\w -]+) " + r"\| (yes|-) " * 4 + r"\|$", CLIENTS.read_text(), re.M)
}
# One screen, with its picture.
MAX_LINES = 120


@pytest.mark.parametrize("client", PROGRAMS)
def test_the_table_says_yes_where_the_genuine_program_is_run(client: str) -> None:
    said = {upstream for upstream, word in zip(UPSTREAMS, TABLE[client], strict=True) if word == "yes"}

    assert said == tried_upstreams(importlib.import_module(f"tests.clients.{PROGRAMS[client]}"))


def test_the_readme_is_short() -> None:
    assert len(README.read_text().splitlines()) <= MAX_LINES


def tried_upstreams(module: ModuleType) -> set[str]:
    """The stand-ins that a module's tests, or the first of them that names any, are run against."""
    tests = [value for name, value in vars(module).items() if name.startswith("test_")]
    for owner in (module, *tests):
        marks = getattr(owner, "pytestmark", [])
        for mark in marks if isinstance(marks, list) else [marks]:
            names = {getattr(value, "__name__", "") for value in mark.args[1]}
            if names <= set(UPSTREAMS):
                return names
    raise AssertionError(f"{module.__name__} names no upstream")
