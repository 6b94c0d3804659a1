"""A decision tells where it stands, what it answers, what was decided, and what follows from it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

DECISIONS = sorted((Path(__file__).parents[2] / "docs" / "decisions").glob("*.md"))
HEADINGS = ["Status", "Context", "Decision", "Consequences"]


@pytest.mark.parametrize("path", DECISIONS, ids=lambda path: path.stem)
def test_a_decision_has_the_usual_headings_with_something_below_each(path: Path) -> None:
    title, *parts = re.split(r"^## ", path.read_text(), flags=re.MULTILINE)

    assert title.startswith("# ")
    assert [part.partition("\n")[0] for part in parts] == HEADINGS
    assert all(part.partition("\n")[2].strip() for part in parts)
