"""What the Claude program is told for a request: all of the body, none of our secrets, and to do nothing by itself."""

from __future__ import annotations

import json
from typing import Any

import pytest

from app.credentials.credential import Credential
from app.errors import InvalidRequest, TooLarge
from app.providers.kinds.claude_cli.order import inherit, write_order
from app.transport.process import Command

USER = {"role": "user", "content": "Grüezi"}
BODY = {"model": "m", "max_tokens": 64, "messages": [USER], "stream": True}
LARGE = "0123456789" * 300_000


def order(body: dict[str, Any], **more: Any) -> Command:
    return write_order(
        ("/bin/claude",), {"PATH": "/bin"}, "claude-sonnet-4-6", json.dumps(body).encode(), **more
    ).command()


def extra(command: Command) -> Any:
    """The fields that are put over those of the program's request."""
    return json.loads(json.loads(command.files["settings.json"])["env"]["CLAUDE_CODE_EXTRA_BODY"])


def said(command: Command) -> Any:
    (line,) = command.stdin.splitlines()
    return json.loads(line)["message"]


def test_the_body_reaches_the_model_but_for_what_the_program_says_itself() -> None:
    fields = {
        "tools": [{"name": "f", "input_schema": {"type": "object"}}],
        "tool_choice": {"type": "tool", "name": "f"},
        "thinking": {"type": "enabled", "budget_tokens": 1024},
        "stop_sequences": ["END"],
        "temperature": 1.0,
        "something_new": [1, {"a": None}],
    }

    command = order(BODY | fields | {"system": "Be short."})

    assert extra(command) == {"max_tokens": 64, "messages": [USER], **fields}
    assert command.files["system.txt"] == b"Be short."
    assert command.argv[command.argv.index("--model") + 1] == "claude-sonnet-4-6"


def test_the_programs_own_doings_are_switched_off() -> None:
    command = order(BODY)

    words = list(command.argv)
    assert words[words.index("--tools") + 1] == ""
    assert words[words.index("--max-turns") + 1] == "1"
    assert {"--strict-mcp-config", "--setting-sources=", "--disable-slash-commands"} < set(words)
    assert "--no-session-persistence" in words
    assert not {"--resume", "--continue", "--session-id"} & set(words)
    assert json.loads(command.files["settings.json"])["disableAllHooks"] is True


def test_without_a_system_text_the_program_keeps_its_own_to_itself() -> None:
    command = order(BODY)

    words = list(command.argv)
    assert words[words.index("--system-prompt") + 1] == ""
    assert set(command.files) == {"settings.json"}


def test_blocks_of_system_text_are_its_paragraphs() -> None:
    blocks = [
        {"type": "text", "text": "One."},
        {"type": "text", "text": "Two.", "cache_control": {"type": "ephemeral"}},
    ]

    command = order(BODY | {"system": blocks})

    assert command.files["system.txt"] == b"One.\n\nTwo."


def test_no_part_of_a_request_is_an_argument_but_the_models_name() -> None:
    command = write_order(("/bin/claude", "-x"), {}, "--debug", json.dumps(BODY | {"system": LARGE}).encode()).command()

    assert command.argv[:2] == ("/bin/claude", "-x")
    assert "--model=--debug" in command.argv
    assert "--debug" not in command.argv
    assert max(map(len, command.argv)) < 100


@pytest.mark.parametrize("model", ["a\0b", "a\nb", "\udc00"])
def test_a_model_whose_name_is_no_text_is_refused(model: str) -> None:
    with pytest.raises(InvalidRequest, match="model's name"):
        write_order(("claude",), {}, model, b"{}")


def test_a_program_that_ignores_the_conversation_says_so_instead_of_an_answer() -> None:
    command = order(BODY)

    assert "Claude Code cannot be asked by Dragoman; update it" in said(command)["content"]


def test_a_turn_too_large_for_the_settings_is_said_as_a_user_would() -> None:
    turn = {"role": "user", "content": LARGE}

    command = order(BODY | {"messages": [turn]})

    assert said(command) == turn
    assert extra(command) == {"max_tokens": 64}


@pytest.mark.parametrize(
    "more",
    [
        {"messages": [USER, {"role": "assistant", "content": LARGE}, USER]},
        {"tools": [{"name": "f", "description": LARGE, "input_schema": {"type": "object"}}]},
    ],
)
def test_what_cannot_be_told_is_refused_as_too_large(more: dict[str, Any]) -> None:
    with pytest.raises(TooLarge, match="2 MiB"):
        order(BODY | more)


@pytest.mark.parametrize("body", [b"[]", b"{", b'{"system": 5}', b"\xff"])
def test_a_body_of_another_shape_is_refused(body: bytes) -> None:
    with pytest.raises(InvalidRequest):
        write_order(("claude",), {}, "m", body)


def test_the_clients_cache_hints_replace_the_programs_own() -> None:
    hinted = [{"type": "text", "text": "a", "cache_control": {"type": "ephemeral"}}]

    with_hints = order(BODY | {"messages": [{"role": "user", "content": hinted}]})
    without = order(BODY | {"system": hinted})

    assert with_hints.environ["DISABLE_PROMPT_CACHING"] == "1"
    assert "DISABLE_PROMPT_CACHING" not in without.environ


def test_the_program_inherits_its_own_login_and_no_secret_of_ours() -> None:
    ours = {
        "PATH": "/bin",
        "HOME": "/home/me",
        "LC_ALL": "C",
        "https_proxy": "http://proxy:3128",
        "CLAUDE_CODE_OAUTH_TOKEN": "login",
        "CLAUDE_CONFIG_DIR": "/config",
        "OPENAI_API_KEY": "secret",
        "ANTHROPIC_API_KEY": "secret",
        "ANTHROPIC_BASE_URL": "http://127.0.0.1:8080",
        "DRAGOMAN__SERVER__API_KEYS": "secret",
        "CLAUDECODE": "1",
    }

    inherited = inherit(ours)

    assert sorted(inherited) == sorted(
        ["PATH", "HOME", "LC_ALL", "https_proxy", "CLAUDE_CODE_OAUTH_TOKEN", "CLAUDE_CONFIG_DIR"]
    )


@pytest.mark.parametrize(
    ("credential", "variable"),
    [
        (Credential(api_key="key-1"), "ANTHROPIC_API_KEY"),
        (Credential(access_token="token-1"), "CLAUDE_CODE_OAUTH_TOKEN"),
    ],
)
def test_a_configured_credential_is_used_apart_from_the_users_own_login(credential: Credential, variable: str) -> None:
    command = order(BODY, credential=credential, base_url="http://127.0.0.1:9")

    assert command.environ[variable] == credential.secret
    assert command.environ["CLAUDE_CONFIG_DIR"] == "../config"
    assert command.environ["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:9"
    assert credential.secret not in f"{command.argv} {command!r}"


def test_betas_and_configured_headers_are_sent_by_the_program() -> None:
    command = order(BODY, betas="a,b", headers={"x-team": "one", "x-more": "two"})

    assert command.environ["ANTHROPIC_BETAS"] == "a,b"
    assert command.environ["ANTHROPIC_CUSTOM_HEADERS"] == "x-team: one\nx-more: two"
