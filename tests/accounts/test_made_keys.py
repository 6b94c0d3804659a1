"""Client keys made by several at once, and while the clock jumps."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from threading import Barrier

import pytest

from app.accounts.accounts import Accounts
from app.accounts.keys import create_key, disable_key, list_keys, read_version, rotate_key
from app.errors import InvalidRequest
from app.settings import AccountsSettings, KeySettings
from tests.accounts.records import NOW

Open = Callable[[], Accounts]
SETTINGS = KeySettings(key="none yet")
MANY = 6


@pytest.fixture(params=["sqlite", "postgres"])
def open_accounts(request: pytest.FixtureRequest, tmp_path: Path) -> Open:
    """Opens the same database, as another worker does."""
    sqlite = request.param == "sqlite"
    url = f"sqlite:///{tmp_path}/ledger.sqlite3" if sqlite else request.getfixturevalue("postgres")
    with closing(Accounts(AccountsSettings(), url)) as first:
        first.read(read_version)  # creates the tables
    return lambda: Accounts(AccountsSettings(), url)


def together(open_accounts: Open, work: Callable[[Accounts], str]) -> list[str]:
    """What each of several workers gets that do the same at once; the words of its refusal, if it is refused."""
    start = Barrier(MANY)

    def run(_: int) -> str:
        with closing(open_accounts()) as accounts:
            accounts.read(read_version)
            start.wait(10)
            try:
                return work(accounts)
            except InvalidRequest as error:
                return str(error)

    with ThreadPoolExecutor(MANY) as threads:
        return list(threads.map(run, range(MANY)))


def test_of_several_that_create_the_same_key_one_does(open_accounts: Open) -> None:
    answers = together(open_accounts, lambda each: each.change(lambda c: create_key(c, "ci", SETTINGS, NOW, "me")))

    assert sum(answer.startswith("dm-") for answer in answers) == 1
    assert sum("already exists" in answer for answer in answers) == MANY - 1
    with closing(open_accounts()) as accounts:
        assert len(accounts.read(list_keys)) == 1


def test_several_that_rotate_a_key_leave_one_that_does_not_end(open_accounts: Open) -> None:
    with closing(open_accounts()) as accounts:
        accounts.change(lambda connection: create_key(connection, "ci", SETTINGS, NOW, "me"))

        together(open_accounts, lambda each: each.change(lambda c: rotate_key(c, "ci", 60, NOW, "me")))

        found = accounts.read(list_keys)
        assert len(found) == 1 + MANY
        assert sum(key.expires is None for key in found) == 1


def test_each_change_is_noticed_though_the_clock_was_set_back(open_accounts: Open) -> None:
    with closing(open_accounts()) as accounts:
        accounts.change(lambda connection: create_key(connection, "ci", SETTINGS, NOW, "me"))
        before = accounts.read(read_version)

        accounts.change(lambda connection: disable_key(connection, "ci", NOW - 86_400))

        assert accounts.read(read_version) > before
