"""`dragoman doctor` finds each fault that is planted here, and names what mends it."""

from __future__ import annotations

import base64
import json
import os
import socket
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any

import pytest

from app.cli.doctor.doctor import MARKS, describe
from app.cli.doctor.finding import Finding, Level, Subject, open_subject
from app.cli.doctor.network_checks import CHECKS as NETWORK
from app.cli.doctor.provider_checks import check_ollama, check_windows, judge_answer
from app.cli.terminal import clean_text
from app.gateway.endpoints.tool_trial import Answer
from tests.cli.machine import Machine
from tests.support.fake_upstream import FakeUpstream, json_reply
from tests.support.gateway_process import BIN, GatewayProcess, bare_environ, free_port

HERE = "http://127.0.0.1:8080"
KEYED = '[server]\napi_keys = ["the-right-key-123"]\n[providers.demo]\n'
WINDOWED = "[providers.demo]\ncontext_window = 50000\n"


def jwt(expires: int) -> str:
    parts = ({"alg": "none"}, {"exp": expires, "sub": "somebody"})
    return ".".join(base64.urlsafe_b64encode(json.dumps(part).encode()).rstrip(b"=").decode() for part in parts) + ".x"


def claude_env(**variables: str) -> dict[str, str]:
    return {".claude/settings.json": json.dumps({"env": variables})}


@dataclass(frozen=True)
class Planted:
    """A fault: the configuration file and what else is on the machine, and what must be found of it."""

    id: str
    level: str
    check: str
    said: str
    remedy: str
    config: str = ""
    mode: int = 0o600
    files: Mapping[str, str] = field(default_factory=dict)
    environ: Mapping[str, str] = field(default_factory=dict)
    offline: bool = True


HERE_TOKEN = {"ANTHROPIC_BASE_URL": HERE, "ANTHROPIC_AUTH_TOKEN": "any"}
FAULTS = [
    Planted("unknown setting", "error", "settings", "server.prot", "config check", "[server]\nprot = 1\n"),
    Planted("broken file", "error", "settings", "not valid TOML", "config check", "[server\n"),
    Planted(
        "default was not found",
        "error",
        "settings",
        "models.default",
        "config check",
        '[providers.demo]\n[models]\ndefault = "nowhere/m"\n',
    ),
    Planted(
        "variable that is not set", "error", "settings", "NOPE", "config check", '[server]\napi_keys = ["${NOPE}"]\n'
    ),
    Planted("key for everybody to read", "warning", "settings file", "readable by other", "chmod 600", KEYED, 0o644),
    Planted("no provider", "warning", "providers", "demo", "dragoman login oca"),
    Planted(
        "port of another program", "note", "environment", "server.port", "unset PORT", WINDOWED, environ={"PORT": "9"}
    ),
    Planted(
        "variable of ours",
        "note",
        "environment",
        "server.workers",
        "unset DRAGOMAN__SERVER__WORKERS",
        WINDOWED,
        environ={"DRAGOMAN__SERVER__WORKERS": "2"},
    ),
    Planted(
        "left-over env block",
        "warning",
        "Claude Code",
        "~/.claude/settings.json",
        "dragoman run claude",
        files=claude_env(ANTHROPIC_BASE_URL="http://127.0.0.1:3456"),
    ),
    Planted(
        "env block that wins",
        "warning",
        "Claude Code",
        "overrides the environment",
        "dragoman run claude",
        files=claude_env(ANTHROPIC_BASE_URL="http://router.example"),
        environ=HERE_TOKEN,
    ),
    Planted(
        "base URL with /v1",
        "warning",
        "Claude Code",
        "adds /v1 itself",
        "ANTHROPIC_BASE_URL=http",
        environ=HERE_TOKEN | {"ANTHROPIC_BASE_URL": f"{HERE}/v1"},
    ),
    Planted(
        "settings that are not JSON",
        "error",
        "Claude Code",
        "is not readable JSON",
        "json.tool",
        files={".claude/settings.json": "{,"},
    ),
    Planted(
        "Bedrock",
        "warning",
        "Claude Code",
        "Bedrock",
        "dragoman run claude",
        environ=HERE_TOKEN | {"CLAUDE_CODE_USE_BEDROCK": "1"},
    ),
    Planted(
        "wrong client key",
        "error",
        "Claude Code",
        "not a key of this gateway",
        "dragoman run claude",
        KEYED,
        environ=HERE_TOKEN,
    ),
    Planted(
        "no client key",
        "error",
        "Claude Code",
        "asks you to log in",
        "dragoman run claude",
        environ={"ANTHROPIC_BASE_URL": HERE},
    ),
    Planted(
        "two client keys",
        "warning",
        "Claude Code",
        "both set",
        "unset ANTHROPIC_API_KEY",
        "[providers.demo]\n",
        environ=HERE_TOKEN | {"ANTHROPIC_API_KEY": "sk-ant-1"},
    ),
    Planted(
        "window not told",
        "warning",
        "Claude Code",
        "50000 tokens",
        "CLAUDE_CODE_AUTO_COMPACT_WINDOW=50000",
        WINDOWED,
        environ=HERE_TOKEN,
    ),
    Planted(
        "key helper",
        "note",
        "Claude Code",
        "apiKeyHelper",
        "remove apiKeyHelper",
        files={".claude/settings.json": json.dumps({"apiKeyHelper": "echo key"})},
        environ=HERE_TOKEN,
    ),
    Planted("Codex broken", "error", "Codex", "not valid TOML", "config.toml", files={".codex/config.toml": "a = = 1"}),
    Planted(
        "Codex elsewhere",
        "warning",
        "Codex",
        "router.example",
        "dragoman run codex",
        files={
            ".codex/config.toml": 'model_provider = "r"\n[model_providers.r]\nbase_url = "http://router.example/v1"\n'
        },
    ),
    Planted(
        "Codex without /v1",
        "warning",
        "Codex",
        "does not end in /v1",
        "base_url = ",
        files={".codex/config.toml": f'model_provider = "d"\n[model_providers.d]\nbase_url = "{HERE}"\n'},
    ),
    Planted(
        "Codex by chat",
        "error",
        "Codex",
        "no longer supported",
        'wire_api = "responses"',
        files={
            ".codex/config.toml": f'model_provider = "d"\n[model_providers.d]\nbase_url = "{HERE}/v1"\n'
            'wire_api = "chat"\n'
        },
    ),
    Planted(
        "Codex without its key",
        "error",
        "Codex",
        "MY_KEY",
        "export MY_KEY",
        files={
            ".codex/config.toml": f'model_provider = "d"\n[model_providers.d]\nbase_url = "{HERE}/v1"\n'
            'env_key = "MY_KEY"\n'
        },
    ),
    Planted(
        "Codex believes in more",
        "warning",
        "Codex",
        "50000 tokens",
        "model_context_window = 50000",
        WINDOWED,
        files={
            ".codex/config.toml": 'model = "demo/demo"\nmodel_context_window = 400000\nmodel_provider = "d"\n'
            f'[model_providers.d]\nbase_url = "{HERE}/v1"\n'
        },
    ),
    Planted(
        "shell",
        "note",
        "shell",
        "~/.zshrc:2",
        "remove line 2",
        files={".zshrc": "# mine\nexport ANTHROPIC_BASE_URL='https://router.example'\n"},
    ),
    Planted(
        "expired token",
        "error",
        "login oca",
        "expire",
        "dragoman login oca",
        '[providers.oca]\ntoken_file = "token.txt"\n',
        files={"../work/token.txt": jwt(1_000_000_000)},
    ),
    Planted(
        "key of another service",
        "error",
        "key anthropic",
        "api.openai.com",
        "api_key",
        '[providers.anthropic]\napi_key = "sk-proj-0123456789"\n',
    ),
    Planted(
        "data folder that is a file", "error", "data folder", "is a file", "mv ", files={".local/share/dragoman": ""}
    ),
    Planted(
        "token file that is not there",
        "error",
        "login oca",
        "token.txt",
        "dragoman login oca",
        '[providers.oca]\ntoken_file = "token.txt"\n',
    ),
    Planted(
        "base URL by https",
        "error",
        "Claude Code",
        "does not speak https",
        f"ANTHROPIC_BASE_URL={HERE}",
        environ=HERE_TOKEN | {"ANTHROPIC_BASE_URL": HERE.replace("http", "https")},
    ),
    Planted(
        "Codex by https",
        "error",
        "Codex",
        "does not speak there",
        f'base_url = "{HERE}/v1"',
        files={
            ".codex/config.toml": 'model_provider = "d"\n[model_providers.d]\nbase_url = "https://127.0.0.1:8080/v1"\n'
        },
    ),
    Planted(
        "proxy that gets everything",
        "warning",
        "proxy",
        "NO_PROXY does not name 127.0.0.1",
        "export NO_PROXY=.example,127.0.0.1",
        environ={"HTTPS_PROXY": "http://proxy.example:3128", "no_proxy": ".example"},
    ),
    Planted(
        "database that is none",
        "error",
        "database",
        "file is not a database",
        "mv ",
        '[ledger]\nurl = "sqlite:///ledger.sqlite3"\n[providers.demo]\n',
        files={"../work/ledger.sqlite3": "a text that is long enough to be read as a page of a database"},
    ),
    Planted(
        "accounts that are none",
        "error",
        "database",
        "usage.sqlite3",
        "mv ",
        files={".local/share/dragoman/usage.sqlite3": "a text that is long enough to be read as a page of a database"},
    ),
    Planted(
        "Postgres that is away",
        "error",
        "database",
        "Postgres does not answer",
        "[ledger] url",
        '[ledger]\nurl = "postgresql://me:my-password@127.0.0.1:9/x"\n[providers.demo]\n',
        offline=False,
    ),
    Planted(
        "Redis that is away",
        "error",
        "redis",
        "Redis does not answer",
        "[shared] redis",
        '[shared]\nredis = "redis://127.0.0.1:9/0"\n[providers.demo]\n',
        offline=False,
    ),
    Planted(
        "workers that cannot exchange",
        "warning",
        "workers",
        "/dev/null/run",
        "unset XDG_RUNTIME_DIR",
        "[server]\nworkers = 2\n[providers.demo]\n",
        environ={"XDG_RUNTIME_DIR": "/dev/null/run"},
    ),
    Planted(
        "model that leads nowhere",
        "error",
        "Claude Code",
        "ANTHROPIC_MODEL in ~/.claude/settings.json",
        "dragoman models",
        '[models]\nunknown = "refuse"\n[providers.demo]\n',
        files=claude_env(ANTHROPIC_MODEL="claude-sonet-9"),
        environ=HERE_TOKEN,
    ),
    Planted(
        "model of the settings that leads nowhere",
        "error",
        "Claude Code",
        '"model" in ~/.claude/settings.json',
        "dragoman models",
        '[models]\nunknown = "refuse"\n[providers.demo]\n',
        files={".claude/settings.json": json.dumps({"model": "claude-sonet-9"})},
        environ=HERE_TOKEN,
    ),
    Planted(
        "hook that nobody has installed",
        "error",
        "settings",
        "no installed package has a hook 'audit'",
        "config check",
        '[hooks]\nrequired = ["audit"]\n[providers.demo]\n',
    ),
]


@pytest.mark.parametrize("planted", FAULTS, ids=lambda planted: planted.id)
def test_a_planted_fault_is_found_with_its_remedy(planted: Planted, machine: Machine) -> None:
    if planted.config:
        machine.write("dragoman.toml", planted.config).chmod(planted.mode)
    for name, text in planted.files.items():
        file = machine.home / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    how = ["--offline"] if planted.offline else []
    result = machine.run("doctor", "--json", *how, **planted.environ)

    found = [Finding(**each) for each in json.loads(result.stdout)]
    match = [each for each in found if (each.level, each.check) == (planted.level, planted.check)]
    assert any(planted.said in each.what and planted.remedy in (each.remedy or "") for each in match), found
    assert result.exit_code == (1 if any(each.level == "error" for each in found) else 0)


def test_a_port_that_somebody_holds_is_told_with_the_holder(machine: Machine) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        result = machine.run("doctor", "--offline", PORT=str(port))

    assert result.exit_code == 1
    assert f"in use by PID {os.getpid()}" in result.stdout
    assert f"dragoman serve --port {port + 1}" in result.stdout


def test_a_good_setup_has_neither_errors_nor_warnings(machine: Machine) -> None:
    machine.write("dragoman.toml", '[providers.up]\nkind = "openai"\nbase_url = "http://127.0.0.1:9/v1"\n').chmod(0o600)

    result = machine.run("doctor", "--offline", **HERE_TOKEN)

    assert result.exit_code == 0
    assert "All is well." in result.stdout


def look(check: Any, machine: Machine, config: str, *, now: float = 1_900_000_000) -> list[Finding]:
    with open_subject(machine.write("dragoman.toml", config), now) as subject:
        return list(check(subject))


def network(subject: Subject) -> list[Finding]:
    return [finding for check in NETWORK for finding in check(subject)]


@pytest.mark.parametrize(
    ("url", "profile", "said", "remedy"),
    [
        ("http://no-such-host.invalid/v1", "vllm", "cannot be resolved", "getent hosts no-such-host.invalid"),
        ("http://127.0.0.1:9/v1", "ollama", "does not answer", "ollama serve"),
        ("http://127.0.0.1:9/v1", "lmstudio", "does not answer", "lms server start"),
    ],
)
def test_a_host_that_cannot_be_reached_is_told_with_the_way_to_start_it(
    url: str, profile: str, said: str, remedy: str, machine: Machine
) -> None:
    config = f'[providers.up]\nkind = "openai"\nbase_url = "{url}"\nprofile = "{profile}"\n'

    found = look(network, machine, config)

    assert any(each.level == "error" and said in each.what and each.remedy == remedy for each in found), found


def test_a_proxy_that_does_not_answer_is_told(machine: Machine) -> None:
    found = look(network, machine, '[server]\nproxies = { https = "http://127.0.0.1:9" }\n[providers.demo]\n')

    assert any(each.check == "proxy" and each.level == "error" for each in found), found


def test_a_clock_that_differs_from_a_provider_is_told(machine: Machine) -> None:
    with ThreadingHTTPServer(("127.0.0.1", 0), BaseHTTPRequestHandler) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/v1"

        found = look(network, machine, f'[providers.up]\nkind = "openai"\nbase_url = "{url}"\n', now=2e9)

        server.shutdown()
    assert any(each.check == "clock" and "timedatectl" in (each.remedy or "") for each in found), found


def test_a_clock_that_was_never_set_is_told(machine: Machine) -> None:
    found = look(network, machine, "[providers.demo]\n", now=3600)

    assert [each.check for each in found if each.level == "error"] == ["clock"]


@pytest.mark.parametrize(
    ("answer", "level", "said", "remedy"),
    [
        (Answer(problem="the provider says that the key is invalid", status=403), "error", "invalid", "valid api_key"),
        (Answer(problem="Not authenticated. Please visit /login", status=401), "error", "Please", "valid api_key"),
        (Answer(problem="the client key is wrong", status=401), "error", "client key", "DRAGOMAN_API_KEY"),
        (Answer(problem="no such model", status=404), "error", "no such model", "dragoman models"),
        (Answer(problem="slow down", status=429), "error", "slow down", "another credential"),
        (Answer(problem="the stream broke off", status=200), "error", "broke off", "dragoman status"),
        (Answer(status=200, first_event=0.1), "warning", "did not call the tool", "choose another"),
        (Answer(status=200, first_event=33.0, called=True), "warning", "slowly", "smaller model"),
    ],
)
def test_what_a_provider_answers_is_judged(
    answer: Answer, level: str, said: str, remedy: str, machine: Machine
) -> None:
    config = '[providers.up]\nkind = "openai"\nbase_url = "http://127.0.0.1:9/v1"\napi_key = "key-of-up-123456"\n'
    with open_subject(machine.write("dragoman.toml", config), 0) as subject:
        assert subject.routing is not None

        found = judge_answer(subject.routing.providers["up"], "up/m", answer)

    assert found.level == level
    assert said in found.what
    assert remedy in (found.remedy or "")


def test_a_login_that_is_missing_is_mended_by_one(machine: Machine) -> None:
    with open_subject(machine.write("dragoman.toml", "[providers.codex]\n"), 0) as subject:
        assert subject.routing is not None
        codex = subject.routing.providers["codex"]

        found = judge_answer(codex, "codex/m", Answer(problem="Not authenticated.", status=401))

    assert found.remedy == "dragoman login codex"


def test_words_of_claude_code_for_several_models_are_no_fault(machine: Machine) -> None:
    machine.write("dragoman.toml", '[models]\nunknown = "refuse"\n[providers.demo]\n').chmod(0o600)

    result = machine.run("doctor", "--offline", **HERE_TOKEN, ANTHROPIC_MODEL="opusplan[1m]")

    assert "ANTHROPIC_MODEL" not in result.stdout


def test_a_model_of_the_settings_that_a_variable_overrides_is_no_fault(machine: Machine) -> None:
    machine.write("dragoman.toml", '[models]\nunknown = "refuse"\n[providers.demo]\n').chmod(0o600)
    (machine.home / ".claude").mkdir()
    (machine.home / ".claude/settings.json").write_text(json.dumps({"model": "claude-sonet-9"}))

    result = machine.run("doctor", "--offline", **HERE_TOKEN, ANTHROPIC_MODEL="demo/demo")

    assert '"model"' not in result.stdout


def test_a_model_that_takes_no_tools_is_well_if_it_answers(machine: Machine) -> None:
    machine.write("dragoman.toml", "[providers.demo]\n")
    with open_subject(None, 2e9) as subject:
        assert subject.routing is not None
        provider = subject.routing.providers["demo"]

    found = judge_answer(provider, "demo/m", Answer(text="ready", first_event=0.1), takes_tools=False)

    assert found.level == "ok"


def test_an_ollama_that_cuts_what_is_long_is_told(machine: Machine) -> None:
    loaded = {"models": [{"name": "qwen3:8b", "context_length": 4096}]}
    with FakeUpstream(json_reply(loaded)) as upstream:
        config = f'[providers.local]\nkind = "ollama"\nbase_url = "{upstream.url}/v1"\n'

        (found,) = look(check_ollama, machine, config)

    assert "4096 tokens" in found.what
    assert (found.remedy or "").startswith("OLLAMA_CONTEXT_LENGTH=")


@pytest.mark.parametrize(
    ("window", "level", "said"),
    [(400000, "warning", "reports 128000"), (8000, "warning", "context window of 8000 tokens"), (None, None, "")],
    ids=["more than the list says", "too small", "as listed"],
)
def test_a_window_is_compared_with_the_list_of_the_provider(
    window: int | None, level: str | None, said: str, machine: Machine
) -> None:
    listed = {"data": [{"id": "m", "object": "model", "context_length": 128000}]}
    with FakeUpstream(json_reply(listed)) as upstream:
        config = f'[providers.up]\nkind = "openai"\nbase_url = "{upstream.url}/v1"\napi_key = "k-123456789"\n'
        config += f"context_window = {window}\n" if window else ""

        found = look(check_windows, machine, config + '[models]\ndefault = "up/m"\n')

    assert [each.level for each in found] == ([level] if level else [])
    assert all(said in each.what for each in found)


def test_a_secret_is_in_no_output_and_in_no_bundle(machine: Machine) -> None:
    machine.write(
        "dragoman.toml", '[server]\napi_keys = ["client-secret-1234"]\n[providers.openai]\napi_key = "sk-up-567"'
    )
    bundle = machine.folder / "bundle.json"

    result = machine.run("doctor", "--offline", "--bundle", str(bundle), "--yes", ANTHROPIC_AUTH_TOKEN="sk-of-claude-9")

    text = bundle.read_text()
    for secret in ("client-secret-1234", "sk-up-567", "sk-of-claude-9", str(machine.home)):
        assert secret not in text
        assert secret not in result.stdout or secret == str(machine.home)
    assert json.loads(text)["versions"]["dragoman"]
    assert bundle.stat().st_mode & 0o777 == 0o600


def test_a_bundle_that_was_seen_and_refused_is_not_written(machine: Machine) -> None:
    bundle = machine.folder / "bundle.json"

    machine.run("doctor", "--offline", "--bundle", str(bundle))

    assert not bundle.exists()


def test_a_model_is_asked_for_a_tool_call_through_the_whole_gateway(tmp_path: Path) -> None:
    done = subprocess.run(
        ("dragoman", "doctor", "--json"),
        cwd=tmp_path,
        env=bare_environ(tmp_path / "home", PATH=f"{BIN}:{os.environ['PATH']}", PORT=str(free_port())),
        capture_output=True,
        text=True,
        timeout=60,
    )

    (found,) = (each for each in json.loads(done.stdout) if each["check"] == "answer demo")
    assert found["level"] == "ok", found
    assert "called the tool" in found["what"]


@pytest.mark.parametrize("level", list(MARKS))
def test_the_colour_of_each_level_reaches_the_terminal(level: Level, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("NO_COLOR", raising=False)
    monkeypatch.setenv("TERM", "xterm")

    shown = describe(Finding(level, "clock", "it is late"))

    assert shown.startswith("\x1b[3")
    assert clean_text(shown) == shown


def test_a_gateway_that_wants_another_key_is_told_with_the_variable_for_it(tmp_path: Path) -> None:
    with GatewayProcess(tmp_path, DRAGOMAN__SERVER__API_KEYS='["another-key-123456"]') as gateway:
        done = subprocess.run(
            ("dragoman", "doctor", "--json", "--offline"),
            cwd=tmp_path,
            env=bare_environ(tmp_path / "home", PATH=f"{BIN}:{os.environ['PATH']}", PORT=str(gateway.port)),
            capture_output=True,
            text=True,
            timeout=60,
        )

    (found,) = (each for each in json.loads(done.stdout) if each["check"] == "gateway")
    assert (found["level"], "DRAGOMAN_API_KEY" in found["remedy"]) == ("warning", True)
