"""`dragoman configure` and `unconfigure` change our own keys, and leave the file as it was in the end."""

from __future__ import annotations

import json
import tomllib

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


def test_codex_gets_back_what_it_used_before(machine: Machine) -> None:
    file = machine.home / ".codex" / "config.toml"
    file.parent.mkdir()
    file.write_text(CODEX)
    machine.run("configure", "codex", "--model", "demo/demo")

    machine.run("unconfigure", "codex")

    assert tomllib.loads(file.read_text()) == tomllib.loads(CODEX)
    assert "# my settings" in file.read_text()


def test_claude_gets_back_what_it_used_before(machine: Machine) -> None:
    file = machine.home / ".claude" / "settings.json"
    file.parent.mkdir()
    file.write_text(CLAUDE)
    machine.run("configure", "claude")

    machine.run("unconfigure", "claude")

    assert json.loads(file.read_text()) == json.loads(CLAUDE)
    assert [path.name for path in file.parent.iterdir()] == ["settings.json"]


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
