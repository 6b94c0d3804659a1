"""`dragoman usage --limits` and `dragoman status` tell which limits are in force and what is used of them."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.cli import main
from app.rate_limits.counts import Demand, Limit
from app.rate_limits.shared_counts import SharedCounts
from app.settings import SharedSettings, data_folder

Run = Callable[..., Result]
LIMITED = """
[providers.ollama]
requests_per_day = 50
[keys.ci]
key = "dm-ci-0123456789"
tokens_per_hour = 4000
budget_per_month = 2.5
"""


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """Runs a command beside a server that has counted something."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "data"))
    counts = SharedCounts(data_folder(), SharedSettings())
    spent = counts.take([Demand("ci", Limit("budget", 10**10, "month"), 0)])
    counts.settle(spent, [1_250_000_000])  # type: ignore[arg-type]
    counts.take([Demand("ci", Limit("tokens", 4000, "hour"), 300)])
    counts.take([Demand("provider ollama", Limit("requests", 50, "day"), 7)])
    counts.close()
    config = tmp_path / "dragoman.toml"

    def invoke(*words: str, settings: str = LIMITED) -> Result:
        config.write_text(f'[server]\nport = 9\n[ledger]\nurl = "sqlite:///{tmp_path}/ledger.sqlite3"\n{settings}')
        config.chmod(0o600)
        return CliRunner().invoke(main, [*words, "--config", str(config)])

    return invoke


def test_limits_are_shown_with_what_is_used_of_them(run: Run) -> None:
    lines = run("usage", "--limits").stdout.splitlines()

    rows = [line.split()[:3] for line in lines[1:]]
    assert rows == [
        ["key", "ci", "budget_per_month"],
        ["key", "ci", "tokens_per_hour"],
        ["provider", "ollama", "requests_per_day"],
    ]
    assert "$1.25 of $2.50" in lines[1]
    assert " 50%" in lines[1]
    assert "300 of 4,000" in lines[2]
    assert "7 of 50" in lines[3]


def test_limits_are_told_to_programs(run: Run) -> None:
    told = json.loads(run("usage", "--limits", "--json").stdout)
    rows = list(csv.DictReader(io.StringIO(run("usage", "--limits", "--csv").stdout)))

    assert [(row["limit"], row["used"], row["maximum"]) for row in told] == [
        ("budget_per_month", 1_250_000_000, 2_500_000_000),
        ("tokens_per_hour", 300, 4000),
        ("requests_per_day", 7, 50),
    ]
    assert told[0]["resets"] > time.time()
    assert told[1]["resets"] is None
    assert [row["limit"] for row in rows] == [row["limit"] for row in told]


def test_without_limits_it_says_so(run: Run) -> None:
    assert (
        "No limits are set for any key or provider." in run("usage", "--limits", settings="[providers.ollama]").stdout
    )


def test_status_shows_the_limits_of_providers_and_keys(run: Run) -> None:
    lines = run("status").stdout.splitlines()
    told = json.loads(run("status", "--json").stdout)

    assert "  limit    requests_per_day: 7 of 50 used" in lines
    key = lines.index("key ci")
    assert lines[key + 1 : key + 3] == [
        "  limit    budget_per_month: $1.25 of $2.50 used",
        "  limit    tokens_per_hour: 300 of 4,000 used",
    ]
    assert [limit["limit"] for limit in told["ollama"]["limits"]] == ["requests_per_day"]


def test_a_key_that_was_made_by_a_command_has_its_limits_shown(run: Run) -> None:
    run("keys", "create", "anna", "--requests-per-hour", "9")

    assert "0 of 9" in run("usage", "--limits").stdout
