"""The list of mutants keeps up with the dialects: each parser and renderer has some, and each line is still there."""

from __future__ import annotations

import pytest

from app.dialects.registry import DIALECTS
from tests.mutants.mutants import ROOT, Mutant, choose, read_mutants

MODULES = [f"{side}_{part}.py" for side in ("request", "response", "stream") for part in ("parser", "renderer")]
LEAST = 2  # mutants of a module


@pytest.mark.parametrize("mutant", read_mutants(), ids=lambda mutant: f"{mutant.file}:{mutant.line[:40]}")
def test_a_mutant_breaks_a_line_that_stands_in_its_module_once(mutant: Mutant) -> None:
    sound = (ROOT / "app" / "dialects" / mutant.file).read_text()

    assert mutant.spoil(sound) != sound


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("dialect", DIALECTS)
def test_every_parser_and_renderer_has_mutants(dialect: str, module: str) -> None:
    assert len([mutant for mutant in read_mutants() if mutant.file == f"{dialect}/{module}"]) >= LEAST


def test_a_part_of_the_mutants_can_be_run_alone_and_all_parts_are_the_list() -> None:
    mutants = read_mutants()

    parts = [choose(mutants, [f"{number}/7"]) for number in range(1, 8)]

    assert all(parts)
    assert [mutant for part in parts for mutant in part] == mutants
