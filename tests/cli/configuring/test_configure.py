"""`dragoman configure` and `unconfigure` change our own keys, and leave the file as it was in the end."""

from __future__ import annotations

import json
import tomllib
from pathlib import Path

import pytest

from tests.cli.machine import Machine

CLAUDE = """{
    "permissions": {"allow": ["Bash"]},
    "env": {
        "MINE": "1",
        "ANTHROPIC_BASE_URL": "http://router.example"
    },
    "model": "opus"
}
"""
CODEX = """# my settings
model = "gpt-5.5"   # the good one
model_provider = "elsewhere"

[model_providers.elsewhere]  # of the company
name = "elsewhere"
base_url = "http://router.example/v1"

[mcp_servers.marker]
command = "python3"
"""


def write(machine: Machine, name: str, text: str) -> Path:
    file = machine.home / f".{name}" / ("settings.json" if name == "claude" else "config.toml")
    file.parent.mkdir(exist_ok=True)
    file.write_text(text)
    return file


def test_claude_gets_our_variables_and_keeps_everything_else(machine: Machine) -> None:
    file = machine.home / ".claude" / "settings.json"
    file.parent.mkdir()
    file.write_text(CLAUDE)

    result = machine.run("configure", "claude")

    settings = json.loads(file.read_text())
    assert result.exit_code == 0, result.output
    assert list(settings) == ["permissions", "env", "model"]
    assert settings["env"]["MINE"] == "1"
    assert settings["env"]["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:8080"
    assert '+        "ANTHROPIC_BASE_URL": "http://127.0.0.1:8080"' in result.output
    assert (file.parent / "settings.json.before-dragoman").read_text() == CLAUDE


def test_codex_gets_our_provider_and_keeps_its_comments(machine: Machine) -> None:
    file = machine.home / ".codex" / "config.toml"
    file.parent.mkdir()
    file.write_text(CODEX)

    result = machine.run("configure", "codex")

    text = file.read_text()
    settings = tomllib.loads(text)
    assert result.exit_code == 0, result.output
    assert "# my settings" in text
    assert "# of the company" in text
    assert settings["model_provider"] == "dragoman"
    assert settings["model_providers"]["dragoman"]["base_url"] == "http://127.0.0.1:8080/v1"
    assert settings["mcp_servers"]["marker"]["command"] == "python3"


@pytest.mark.parametrize(("name", "text"), [("claude", CLAUDE), ("codex", CODEX)])
def test_a_second_time_changes_nothing(name: str, text: str, machine: Machine) -> None:
    file = machine.home / f".{name}" / ("settings.json" if name == "claude" else "config.toml")
    file.parent.mkdir()
    file.write_text(text)
    machine.run("configure", name)
    first = file.read_text()

    result = machine.run("configure", name)

    assert "nothing to change" in result.output
    assert file.read_text() == first


TERSE = """{"permissions": {"allow": ["Bash(ls:*)"]}, "env": {"MINE": "1"},
  "hooks": {"a": [1,2]}}"""
BARE = """{ "theme":"dark" }
"""
EMPTY = "{}\n"


@pytest.mark.parametrize(
    ("name", "text"),
    [("claude", CLAUDE), ("claude", TERSE), ("claude", BARE), ("claude", EMPTY), ("codex", CODEX), ("codex", "")],
)
def test_a_client_gets_back_its_file_to_the_byte_and_once(name: str, text: str, machine: Machine) -> None:
    file = write(machine, name, text)
    machine.run("configure", name, "--model", "demo/demo")
    machine.run("configure", name)

    results = [machine.run("unconfigure", name) for _ in range(3)]

    assert file.read_text() == text
    assert [path.name for path in file.parent.iterdir()] == [file.name]
    assert ["nothing to change" in result.output for result in results] == [False, True, True]


@pytest.mark.parametrize("name", ["claude", "codex"])
def test_a_file_that_was_not_there_is_gone_again(name: str, machine: Machine) -> None:
    machine.run("configure", name)

    machine.run("unconfigure", name)

    assert list((machine.home / f".{name}").iterdir()) == []


@pytest.mark.parametrize(
    ("text", "begin", "end"),
    [
        (
            CLAUDE,
            '{\n    "permissions": {"allow": ["Bash"]},\n    "env": {\n        "MINE"',
            '    },\n    "model": "opus"\n}\n',
        ),
        (TERSE, '{"permissions": {"allow": ["Bash(ls:*)"]}, "env": {', '},\n  "hooks": {"a": [1,2]}}'),
        (BARE, '{ "theme":"dark",\n  "env": {', "} }\n"),
    ],
)
def test_all_around_the_variables_stays_as_it_is_written(text: str, begin: str, end: str, machine: Machine) -> None:
    file = write(machine, "claude", text)

    machine.run("configure", "claude")

    assert file.read_text().startswith(begin)
    assert file.read_text().endswith(end)
    assert json.loads(file.read_text())["env"]["ANTHROPIC_AUTH_TOKEN"] == "any-text"


def test_what_was_changed_since_stays(machine: Machine) -> None:
    claude, codex = write(machine, "claude", CLAUDE), write(machine, "codex", CODEX)
    for name in ("claude", "codex"):
        machine.run("configure", name, "--model", "demo/demo")
    settings = json.loads(claude.read_text())
    settings["env"] |= {"ANTHROPIC_AUTH_TOKEN": "of-another-tool", "NEW": "2"}
    claude.write_text(json.dumps(settings))
    codex.write_text(codex.read_text().replace('model = "demo/demo"', 'model = "newer"'))

    for name in ("claude", "codex"):
        machine.run("unconfigure", name)

    assert json.loads(claude.read_text())["env"] == {
        "MINE": "1",
        "ANTHROPIC_BASE_URL": "http://router.example",
        "ANTHROPIC_AUTH_TOKEN": "of-another-tool",
        "NEW": "2",
    }
    assert tomllib.loads(codex.read_text()) == tomllib.loads(CODEX.replace("gpt-5.5", "newer"))


def test_variables_that_were_never_ours_are_not_removed(machine: Machine) -> None:
    file = write(machine, "claude", CLAUDE)

    result = machine.run("unconfigure", "claude")

    assert "has not changed it" in result.output
    assert file.read_text() == CLAUDE


def test_claude_keeps_what_was_not_ours(machine: Machine) -> None:
    file = machine.home / ".claude" / "settings.json"
    machine.run("configure", "claude")
    settings = json.loads(file.read_text())
    settings["env"]["MINE"] = "1"
    file.write_text(json.dumps(settings))

    machine.run("unconfigure", "claude")

    assert json.loads(file.read_text()) == {"env": {"MINE": "1"}}


def test_a_dry_run_writes_nothing(machine: Machine) -> None:
    result = machine.run("configure", "codex", "--dry-run")

    assert "model_providers.dragoman" in result.output
    assert not (machine.home / ".codex").exists()


@pytest.mark.parametrize("name", ["claude", "codex"])
def test_a_file_that_cannot_be_understood_is_left_alone(name: str, machine: Machine) -> None:
    file = machine.home / f".{name}" / ("settings.json" if name == "claude" else "config.toml")
    file.parent.mkdir()
    file.write_text("{ = ")

    result = machine.run("configure", name)

    assert result.exit_code == 1
    assert "nothing was changed" in result.output
    assert file.read_text() == "{ = "


def test_a_new_file_that_holds_a_key_is_private_and_the_key_is_not_shown(machine: Machine) -> None:
    machine.write("dragoman.toml", '[server]\napi_keys = ["client-key-1234567"]\n[providers.demo]\n')

    result = machine.run("configure", "claude")

    file = machine.home / ".claude" / "settings.json"
    assert json.loads(file.read_text())["env"]["ANTHROPIC_AUTH_TOKEN"] == "client-key-1234567"
    assert file.stat().st_mode & 0o777 == 0o600
    assert "client-key-1234567" not in result.output
