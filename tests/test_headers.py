"""Specifies what is remembered of heads: nobody can fill the memory with names."""

from __future__ import annotations

from app.headers import FoundByNames


def test_the_same_names_are_looked_at_once() -> None:
    looks: list[tuple[str, ...]] = []
    found = FoundByNames(lambda names: looks.append(names) or len(names))  # type: ignore[func-returns-value]

    assert [found["a", "b"], found["a", "b"], found["a",]] == [2, 2, 1]
    assert looks == [("a", "b"), ("a",)]


def test_long_names_are_not_kept_and_others_not_for_ever() -> None:
    found = FoundByNames(len)

    assert found["x" * 100_000,] == 1
    assert not found
    for number in range(10_000):
        assert found[f"x-{number}",] == 1
    assert 0 < len(found) < 1000
