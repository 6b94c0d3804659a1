"""`dragoman usage`, `requests`, `show` and `prices` tell what the accounts hold."""

from __future__ import annotations

import csv
import io
import json
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from app.accounts.accounts import Accounts
from app.accounts.record import AttemptRecord
from app.cli import main
from app.settings import AccountsSettings
from tests.accounts.records import record

Run = Callable[..., Result]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Runs a command on accounts with three requests: two answered, one failed after two attempts."""
    url = f"sqlite:///{tmp_path}/ledger.sqlite3"
    config = tmp_path / "dragoman.toml"
    config.write_text(f'[ledger]\nurl = "{url}"\n[providers.demo]\n')
    config.chmod(0o600)
    accounts = Accounts(AccountsSettings(), url)
    now = time.time()
    tried = (
        AttemptRecord("oca/gpt-4.1", 503, "overloaded", "too busy", started=1, ended=20, waited=250),
        AttemptRecord("oca/gpt-4.1", 503, "overloaded", "too busy", started=270, ended=300),
    )
    accounts.take([record(1, received=now - 50)])
    accounts.take([record(2, received=now - 40, key="ben", tenant="t-ben", model="qwen3", cost=None)])
    accounts.take(
        [
            record(
                3,
                received=now - 30,
                terminal="error",
                status=503,
                error="overloaded",
                attempts=tried,
                usage=None,
                cost=None,
            )
        ]
    )
    accounts.close()

    def invoke(*words: str) -> Result:
        return CliRunner().invoke(main, [*words, "--config", str(config)])

    return invoke


def test_usage_sums_by_model(run: Run) -> None:
    rows = json.loads(run("usage", "--json").stdout)

    by_model = {row["model"]: row for row in rows}
    assert by_model["claude-sonnet-4-6"]["requests"] == 2
    assert by_model["claude-sonnet-4-6"]["cost"] == 5_600_000
    assert by_model["qwen3"]["unpriced"] == 1


@pytest.mark.parametrize("group", ["key", "model", "target", "provider", "client", "day", "hour", "session"])
def test_usage_has_every_group(run: Run, group: str) -> None:
    rows = json.loads(run("usage", "--by", group, "--json").stdout)

    assert sum(row["requests"] for row in rows) == 3
    assert all(group in row for row in rows)


def test_usage_shows_a_price_that_is_not_known_as_a_dash(run: Run) -> None:
    (line,) = [line for line in run("usage").stdout.splitlines() if line.startswith("qwen3")]

    assert line.endswith("-+")


def test_usage_as_csv_has_a_line_for_each_group(run: Run) -> None:
    rows = list(csv.DictReader(io.StringIO(run("usage", "--by", "key", "--csv").stdout)))

    assert {row["key"]: row["requests"] for row in rows} == {"ana": "2", "ben": "1"}


@pytest.mark.parametrize("span", ["7", "d", "7y", "-1d", "9999999d", ""])
def test_a_span_that_is_none_is_refused_with_an_example(run: Run, span: str) -> None:
    done = run("usage", "--since", span)

    assert done.exit_code == 2
    assert "such as 30m, 12h, 7d or 2w" in done.stderr


def test_requests_lists_the_newest_last(run: Run) -> None:
    rows = json.loads(run("requests", "--json").stdout)

    assert [row["id"] for row in rows] == [record(number).id for number in (1, 2, 3)]


def test_requests_lists_the_failed_ones(run: Run) -> None:
    rows = json.loads(run("requests", "--failed", "--json").stdout)

    assert [row["id"] for row in rows] == [record(3).id]


@pytest.mark.parametrize(("option", "value"), [("--key", "ben"), ("--model", "qwen3")])
def test_requests_are_narrowed(run: Run, option: str, value: str) -> None:
    rows = json.loads(run("requests", option, value, "--json").stdout)

    assert [row["id"] for row in rows] == [record(2).id]


def test_show_tells_each_attempt(run: Run) -> None:
    told = run("show", record(3).id).stdout

    assert "attempt 1     oca/gpt-4.1  503  1-20 ms  overloaded: too busy, then waited 250 ms" in told
    assert "attempt 2" in told
    assert "models.big leads to oca/gpt-4.1; failed with overloaded" in told


def test_show_refuses_an_id_that_nobody_has(run: Run) -> None:
    done = run("show", "nobody")

    assert done.exit_code == 1
    assert "no request has the id 'nobody'" in done.stderr


def test_prices_shows_the_row_of_a_name(run: Run) -> None:
    shown = json.loads(run("prices", "anthropic/claude-sonnet-4-5-20250929", "--json").stdout)

    assert shown["anthropic/claude-sonnet-4-5-20250929"]["output"] == 15.0


def test_prices_shows_what_else_a_name_may_cost(run: Run) -> None:
    shown = run("prices", "claude-opus-5-5").stdout.splitlines()

    assert shown[-4:] == [
        "batches and flex: x 0.5", "priority and fast mode: x 2", "inference in the United States: x 1.1",
        "a search: $0.01",
    ]  # fmt: skip
    assert "x 0.5" not in run("prices").stdout


def test_prices_says_when_there_is_none(run: Run) -> None:
    done = run("prices", "qwen3")

    assert done.exit_code == 1
    assert "no price is known for 'qwen3'" in done.stderr
