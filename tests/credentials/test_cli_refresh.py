"""The Claude CLI is asked to renew its login at the start and every 23 hours, by one worker, never beside a key."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

import pytest
import requests

from app.credentials.cli_refresh import LOOK, PERIOD, CliRefresh
from app.credentials.login_source import LoginSource
from app.credentials.sources import open_source
from app.settings import ProviderSettings
from tests.support.clock import Clock

NOTE = """
import os, sys
open(sys.argv[1], "a").write(" ".join(sys.argv[2:]) + os.environ.get("ANTHROPIC_BASE_URL", "") + "\\n")
"""


def program(tmp_path: Path) -> tuple[list[str], Path]:
    """A command that notes its arguments, and the file it notes them in."""
    notes = tmp_path / "notes"
    return [sys.executable, "-c", NOTE, str(notes)], notes


def test_the_program_runs_at_once_and_again_after_23_hours(tmp_path: Path, clock: Clock) -> None:
    command, notes = program(tmp_path)
    environ = {**os.environ, "ANTHROPIC_BASE_URL": "http://127.0.0.1:8080"}
    errand = CliRefresh(command, tmp_path / "stamp", environ, clock, monotonic=clock)
    begun = clock.now

    for later in (0.0, LOOK + 1, PERIOD / 2, PERIOD + 1):
        clock.now = begun + later
        errand()

    assert notes.read_text() == "auth status\n" * 2


def test_one_worker_runs_it_for_all(tmp_path: Path, clock: Clock) -> None:
    command, notes = program(tmp_path)

    for _ in range(3):
        CliRefresh(command, tmp_path / "stamp", os.environ, clock)()

    assert notes.read_text().count("\n") == 1


@pytest.mark.parametrize("command", [["/nowhere/claude"], [sys.executable, "-c", "raise SystemExit(3)"]])
def test_a_program_that_fails_is_reported_and_stops_nothing(
    tmp_path: Path, clock: Clock, caplog: pytest.LogCaptureFixture, command: list[str]
) -> None:
    CliRefresh(command, tmp_path / "stamp", os.environ, clock)()

    assert "[token-refresh]" in caplog.text


def test_it_is_an_errand_of_a_login_file_where_it_is_wanted(tmp_path: Path) -> None:
    command, notes = program(tmp_path)
    login = tmp_path / ".credentials.json"
    login.write_text('{"claudeAiOauth":{"accessToken":"sk-ant-oat01-x","expiresAt":99999999999999}}')
    settings = ProviderSettings(kind="anthropic", credentials_file=str(login), cli_refresh=True, command=tuple(command))

    source = open_source(settings, dict(os.environ), tmp_path, requests.Session)
    assert isinstance(source, LoginSource)
    source.poll()

    assert notes.read_text() == "auth status\n"


def test_with_a_key_the_cli_is_not_asked(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    command, notes = program(tmp_path)
    settings = ProviderSettings(kind="anthropic", api_key="k", cli_refresh=True, command=tuple(command))

    with caplog.at_level(logging.INFO):
        source = open_source(settings, {}, tmp_path, requests.Session)
    assert source is not None
    source.poll()

    assert not notes.exists()
    assert "the CLI is not run" in caplog.text
