from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.credentials.issuer import Issuer
from tests.credentials.logins import KINDS, LoginFile


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def issuer(kind: str) -> Iterator[Issuer]:
    issuer = Issuer(kind)
    yield issuer
    issuer.stop()


@pytest.fixture
def expired(kind: str, tmp_path: Path, issuer: Issuer) -> LoginFile:
    return LoginFile(kind, tmp_path, issuer)


@pytest.fixture(autouse=True)
def _apply_fast_mode(monkeypatch: pytest.MonkeyPatch) -> None:
    """Other programs finish their files at once here."""
    monkeypatch.setattr("app.credentials.stores.stored_login._WRITE_TIMEOUT", 0.4)
