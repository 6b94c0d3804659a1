"""The laws run over all that there is: none of them can vanish without a word."""

from __future__ import annotations

import pytest

from app.dialects.registry import DIALECTS as REGISTERED
from tests.laws import cases


def test_every_registered_dialect_is_under_the_laws() -> None:
    assert {dialect.NAME for dialect in cases.DIALECTS} == set(REGISTERED)


@pytest.mark.parametrize("dialect", cases.DIALECTS, ids=lambda dialect: dialect.NAME)
@pytest.mark.parametrize(("kind", "least"), [("requests", 10), ("responses", 5), ("streams", 10)])
def test_every_dialect_has_wire_files_of_each_kind(dialect: object, kind: str, least: int) -> None:
    files = [param for param in cases.every_file(kind) if param.values[0] is dialect]

    assert len(files) >= least
