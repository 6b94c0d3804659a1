"""The specification of how tools are named towards an upstream."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from app.adaptation.tools.tool_names import legal_name, name_tools

LONG = "mcp__server__" + "x" * 57


def test_a_legal_name_stays() -> None:
    assert name_tools([(None, "read-File_2")], 64) == {(None, "read-File_2"): "read-File_2"}


def test_a_long_name_keeps_its_beginning() -> None:
    name = legal_name(LONG + "_alpha", 64)

    assert len(name) == 64
    assert re.fullmatch(re.escape(LONG[:55]) + "_[0-9a-f]{8}", name)


def test_long_names_that_begin_alike_stay_different() -> None:
    names = name_tools([(None, LONG + "_alpha"), (None, LONG + "_beta_")], 64)

    assert len(set(names.values())) == 2


def test_illegal_characters_become_underscores_and_a_hash() -> None:
    assert re.fullmatch("notes_read_[0-9a-f]{8}", legal_name("notes.read", 64))


def test_a_namespace_is_joined_once_by_two_underscores() -> None:
    names = name_tools([("mcp__kv__", "get"), ("kv", "get")], 64)

    assert list(names.values()) == ["mcp__kv__get", "kv__get"]


def test_of_two_tools_with_one_name_the_first_keeps_it() -> None:
    names = name_tools([(None, "kv__get"), ("kv", "get")], 64)

    assert names[None, "kv__get"] == "kv__get"
    assert re.fullmatch("kv__get_[0-9a-f]{8}", names["kv", "get"])


def test_kept_namespaces_may_hold_the_same_names() -> None:
    names = name_tools([("a", "get"), ("b", "get")], 64, keep_namespaces=True)

    assert list(names.values()) == ["get", "get"]


_KEYS = st.lists(st.tuples(st.none() | st.text("a_.", max_size=5), st.text("ab_.", max_size=8)), max_size=12)


@given(_KEYS, st.integers(16, 64))
def test_all_names_are_legal_and_mean_one_tool(keys: list[tuple[str | None, str]], limit: int) -> None:
    names = name_tools(keys, limit)

    assert set(names) == set(keys)
    assert all(re.fullmatch("[a-zA-Z0-9_-]+", name) and len(name) <= limit for name in names.values())
    assert len(set(names.values())) == len(names)


@given(_KEYS, _KEYS)
def test_tools_that_join_later_rename_none(
    before: list[tuple[str | None, str]], after: list[tuple[str | None, str]]
) -> None:
    names = name_tools(before, 64)

    assert names.items() <= name_tools(before + after, 64).items()
