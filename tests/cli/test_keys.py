"""`dragoman keys`: what it makes, shows and refuses. That servers notice is shown in tests/server."""

from __future__ import annotations

import getpass
import hashlib
import json

import pytest

from tests.cli.machine import Machine


def test_a_key_is_shown_once_and_listed_by_its_beginning(machine: Machine) -> None:
    made = machine.run("keys", "create", "anna", "--model", "local/*", "--budget-per-day", "2.5", "--expires", "30d")

    key = made.stdout.strip()
    (row,) = json.loads(machine.run("keys", "list", "--json").stdout)
    assert key.startswith("dm-")
    assert key not in made.stderr
    assert (row["name"], row["state"], row["role"]) == ("anna", "valid", "client")
    assert row["rights"] == ["models local/*", "budget_per_day 2.5"]
    assert row["key"] == key[:8] + "…"
    assert row["by"] == getpass.getuser()


def test_a_rotation_leaves_the_old_key_for_a_while(machine: Machine) -> None:
    machine.run("keys", "create", "anna", "--max-parallel", "2")

    machine.run("keys", "rotate", "anna", "--overlap", "1h")
    after_overlap = json.loads(machine.run("keys", "list", "--json").stdout)
    machine.run("keys", "rotate", "anna", "--overlap", "0s")
    after_end = json.loads(machine.run("keys", "list", "--json").stdout)

    assert [row["state"] for row in after_overlap] == ["valid", "valid"]
    assert [bool(row["expires"]) for row in after_overlap] == [True, False]
    assert [row["state"] for row in after_end] == ["expired", "expired", "valid"]
    assert {tuple(row["rights"]) for row in after_end} == {("max_parallel 2",)}


@pytest.mark.parametrize(("role", "hint"), [("client", True), ("admin", False)])
def test_the_first_key_says_that_it_closes_the_gateway(machine: Machine, role: str, hint: bool) -> None:
    first, second = (machine.run("keys", "create", name, "--role", role) for name in ("anna", "ben"))

    assert "every client needs one" in first.stderr
    assert ("--role admin" in first.stderr) is hint
    assert "every client needs one" not in second.stderr


def test_beside_a_key_of_the_settings_none_is_the_first(machine: Machine) -> None:
    machine.write("dragoman.toml", '[keys.ben]\nkey = "a-key-of-the-settings"\n')

    assert "every client needs one" not in machine.run("keys", "create", "anna").stderr


def test_a_made_key_with_a_mistyped_right_is_made_and_warned_of(machine: Machine) -> None:
    made = machine.run("keys", "create", "anna", "--provider", "antropic", "--model", "claude-*")

    assert made.exit_code == 0
    assert made.stdout.startswith("dm-")
    assert made.stderr.count("warning: ") == 1
    assert "keys.anna.providers: 'antropic' matches no configured provider" in made.stderr


def test_a_disabled_name_can_be_given_anew(machine: Machine) -> None:
    machine.run("keys", "create", "anna")

    ended = machine.run("keys", "disable", "anna")
    again = machine.run("keys", "create", "anna")

    assert "disabled" in ended.stdout
    assert again.exit_code == 0


REFUSED = {
    "a name twice": (("create", "anna"), "a key named anna already exists"),
    "a name of the settings": (("create", "ci"), "ci is defined in the settings"),
    "a name that is none": (("create", "a b"), "a key's name may have"),
    "an end that is none": (("create", "ben", "--expires", "soon"), "is not a date"),
    "a rotation of nobody": (("rotate", "ben"), "no valid key is named ben"),
    "an end of nobody": (("disable", "ben"), "no enabled key is named ben"),
    "a span that is none": (("rotate", "anna", "--overlap", "long"), "is not a time span"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_done_says_why(machine: Machine, case: str) -> None:
    arguments, said = REFUSED[case]
    machine.write("dragoman.toml", '[keys.ci]\nkey = "dm-0123456789"')
    machine.run("keys", "create", "anna")

    result = machine.run("keys", *arguments)

    assert result.exit_code != 0
    assert said in result.stderr


def test_keys_of_the_settings_are_listed_without_a_word_of_them(machine: Machine) -> None:
    machine.write("dragoman.toml", '[keys.ci]\nkey = "dm-0123456789"\nrole = "admin"')

    said = machine.run("keys", "list").stdout

    assert "ci" in said
    assert "settings" in said
    assert "dm-0123456789" not in said


def test_the_hash_of_a_key_can_stand_for_it(machine: Machine) -> None:
    said = machine.run("keys", "hash", "--key", "dm-0123456789").stdout.strip()

    assert said == "sha256:" + hashlib.sha256(b"dm-0123456789").hexdigest()


def test_without_accounts_there_is_no_place_for_keys(machine: Machine) -> None:
    machine.write("dragoman.toml", "[accounts]\nenabled = false")

    assert "accounts.enabled is false" in machine.run("keys", "create", "anna").stderr
