"""`dragoman run`: what an agent is told, what is checked before it starts, and what is left when it has ended."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import urllib.request
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from app.cli.launcher.agents import AGENTS
from tests.cli.launcher.agents import StandInAgent
from tests.support.clock import wait_until
from tests.support.gateway_process import BIN, GatewayProcess, bare_environ, free_port

CONFIG = '[server]\napi_keys = ["client-key-1234567890"]\n[providers.demo]\n[models]\ndefault = "demo/demo"\n'
WINDOW = "[providers.demo]\ncontext_window = 50000\n"
# A blocked signal stays pending; a handler's would be lost to a read or a pause that begins just after it.
WAITS_FOR = "signal.pthread_sigmask(signal.SIG_BLOCK, [{0}]); print('ready', flush=True); signal.sigwait([{0}])"


def run(
    folder: Path, agent: StandInAgent, *arguments: str, port: int | None = None, **environ: str
) -> subprocess.CompletedProcess[str]:
    given = {"PATH": f"{BIN}:{agent.path}", "PORT": str(port or free_port())} | environ
    return subprocess.run(
        ("dragoman", "run", *arguments),
        cwd=folder,
        env=bare_environ(folder / "home", **given),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=60,
    )


def settings_of(arguments: list[str], files: Mapping[str, tuple[str, int]]) -> dict[str, dict[str, str]]:
    """Claude Code's inline settings, or those of the file that stands for them."""
    given = arguments[arguments.index("--settings") + 1]
    text = given if given.startswith("{") else files[given][0]
    found: dict[str, dict[str, str]] = json.loads(text)
    return found


def test_claude_is_led_by_settings_that_no_left_over_block_wins_against(tmp_path: Path) -> None:
    agent = StandInAgent(tmp_path, "claude")
    (tmp_path / "dragoman.toml").write_text(WINDOW)

    done = run(tmp_path, agent, "claude", "--", "-p", "hi", ANTHROPIC_API_KEY="", ANTHROPIC_MODEL="other")

    assert done.returncode == 0, done.stderr
    called = agent.called()
    env = settings_of(called.arguments, called.files)["env"]
    assert called.arguments[-2:] == ["-p", "hi"]
    assert env["ANTHROPIC_BASE_URL"] == called.environ["ANTHROPIC_BASE_URL"]
    assert env["CLAUDE_CODE_AUTO_COMPACT_WINDOW"] == "50000"
    assert env["CLAUDE_CODE_ENABLE_GATEWAY_MODEL_DISCOVERY"] == "1"
    assert (env["ANTHROPIC_MODEL"], env["CLAUDE_CODE_USE_VERTEX"], env["CLAUDE_CODE_USE_MANTLE"]) == ("", "", "")
    assert "ANTHROPIC_MODEL" not in called.environ
    assert "127.0.0.1" in called.environ["NO_PROXY"]


def test_a_key_stands_in_a_private_file_and_never_on_the_command_line(tmp_path: Path) -> None:
    (tmp_path / "dragoman.toml").write_text(CONFIG)
    agent = StandInAgent(tmp_path, "claude")

    run(tmp_path, agent, "claude")

    called = agent.called()
    ((file, (text, mode)),) = called.files.items()
    assert "client-key-1234567890" not in str(called.arguments)
    assert json.loads(text)["env"]["ANTHROPIC_AUTH_TOKEN"] == "client-key-1234567890"
    assert mode == 0o600
    assert not Path(file).exists()


def test_the_settings_that_a_user_gives_are_kept_beside_ours(tmp_path: Path) -> None:
    agent = StandInAgent(tmp_path, "claude")
    own = json.dumps({"permissions": {"allow": ["Bash"]}, "env": {"MINE": "1", "ANTHROPIC_BASE_URL": "http://other"}})

    run(tmp_path, agent, "claude", "--", "--settings", own)

    called = agent.called()
    settings = settings_of(called.arguments, called.files)
    assert called.arguments.count("--settings") == 1
    assert settings["permissions"] == {"allow": ["Bash"]}
    assert settings["env"]["MINE"] == "1"
    assert settings["env"]["ANTHROPIC_BASE_URL"].startswith("http://127.0.0.1:")


def test_a_model_is_told_for_all_that_claude_does(tmp_path: Path) -> None:
    agent = StandInAgent(tmp_path, "claude")

    run(tmp_path, agent, "claude", "--model", "demo/demo", "--", "-p", "hi")

    called = agent.called()
    env = settings_of(called.arguments, called.files)["env"]
    tiers = [f"ANTHROPIC_DEFAULT_{tier}_MODEL" for tier in ("OPUS", "SONNET", "HAIKU", "FABLE")]
    names = ("ANTHROPIC_MODEL", "ANTHROPIC_SMALL_FAST_MODEL", "CLAUDE_CODE_SUBAGENT_MODEL", *tiers)
    assert [env[name] for name in names] == ["demo/demo"] * 7
    assert called.arguments[2:4] == ["--model", "demo/demo"]


def test_codex_is_led_by_flags_and_knows_the_model_by_a_catalogue(tmp_path: Path) -> None:
    (tmp_path / "dragoman.toml").write_text(WINDOW)
    agent = StandInAgent(tmp_path, "codex")

    done = run(tmp_path, agent, "codex", "exec", "hi")

    assert done.returncode == 0, done.stderr
    called = agent.called()
    flags = dict(word.split("=", 1) for word in called.arguments if "=" in word)
    assert called.arguments[-2:] == ["exec", "hi"]
    assert flags["model_providers.dragoman.base_url"].endswith('/v1"')
    assert called.environ["DRAGOMAN_KEY"] == "any-text"
    assert (flags["model_context_window"], flags["model_auto_compact_token_limit"]) == ("50000", "45000")
    (model,) = json.loads(called.files[json.loads(flags["model_catalog_json"])][0])["models"]
    assert (model["slug"], model["context_window"]) == ("demo/demo", 50000)
    assert (model["base_instructions"], model["apply_patch_tool_type"]) == ("y", None)


@pytest.mark.parametrize("name", ["opencode", "cline", "aider", "qwen", "goose"])
def test_each_other_agent_is_told_the_address_the_key_and_the_model(name: str, tmp_path: Path) -> None:
    (tmp_path / "dragoman.toml").write_text(CONFIG)
    agent = StandInAgent(tmp_path, name)

    done = run(tmp_path, agent, name, "--model", "demo/demo", "--", "the task")

    assert done.returncode == 0, done.stderr
    called = agent.called()
    told = f"{called.arguments} {called.environ} {called.files}"
    assert called.arguments[-1] == "the task"
    assert "http://127.0.0.1:" in told
    assert "client-key-1234567890" in told
    assert "client-key-1234567890" not in str(called.arguments)
    assert "demo/demo" in told


def test_a_gateway_with_the_same_settings_is_used_and_outlives_the_agent(tmp_path: Path) -> None:
    agent = StandInAgent(tmp_path, "claude")
    with GatewayProcess(tmp_path) as gateway:
        done = run(tmp_path, agent, "claude", port=gateway.port)

        assert done.returncode == 0, done.stderr
        assert agent.called().environ["ANTHROPIC_BASE_URL"] == gateway.url
        assert gateway.healthy()
        with urllib.request.urlopen(f"{gateway.url}/_/api/requests?failed=1") as reply:
            assert json.load(reply)["requests"] == []


@pytest.mark.parametrize(
    "running",
    ['[providers.demo]\n[models]\ndefault = "demo/other"\n', "[providers.demo]\ncontext_window = 9000\n"],
    ids=["routes", "providers"],
)
def test_a_gateway_that_answers_otherwise_is_named_and_not_used(running: str, tmp_path: Path) -> None:
    agent = StandInAgent(tmp_path, "claude")
    (tmp_path / "other.toml").write_text(running)
    with GatewayProcess(tmp_path, DRAGOMAN_CONFIG=str(tmp_path / "other.toml")) as gateway:
        (tmp_path / "dragoman.toml").write_text('[providers.demo]\n[models]\ndefault = "demo/demo"\n')

        done = run(tmp_path, agent, "claude", port=gateway.port)

        assert gateway.healthy()
    assert done.returncode == 0, done.stderr
    assert f"port {gateway.port} is in use by" in done.stderr
    assert agent.called().environ["ANTHROPIC_BASE_URL"] != gateway.url


def test_another_program_at_the_port_is_named_and_left_alone(tmp_path: Path) -> None:
    agent = StandInAgent(tmp_path, "claude")
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]

        done = run(tmp_path, agent, "claude", port=port)

    assert done.returncode == 0, done.stderr
    assert f"port {port} is in use by PID {os.getpid()}" in done.stderr
    assert f":{port}" not in agent.called().environ["ANTHROPIC_BASE_URL"]


def test_a_model_that_leads_nowhere_is_told_before_the_agent_starts(tmp_path: Path) -> None:
    (tmp_path / "dragoman.toml").write_text('[providers.demo]\n[models]\ndefault = "demo/demo"\nunknown = "refuse"\n')
    agent = StandInAgent(tmp_path, "codex")

    done = run(tmp_path, agent, "codex", "--model", "nobody-knows-this")

    assert done.returncode == 1
    assert "nobody-knows-this does not work" in done.stderr
    assert not agent.was_called


def test_an_agent_that_is_not_there_is_told_with_the_way_to_get_it(tmp_path: Path) -> None:
    agent = StandInAgent(tmp_path, "unused")

    done = run(tmp_path, agent, "goose", PATH=str(BIN))

    assert done.returncode == 1
    assert "goose is not on the PATH" in done.stderr


@pytest.mark.parametrize(
    ("then", "code"), [("sys.exit(7)", 7), ("os.kill(os.getpid(), 15)", 143)], ids=["exit code", "signal"]
)
def test_the_end_of_the_agent_is_the_end_of_the_command(then: str, code: int, tmp_path: Path) -> None:
    agent = StandInAgent(tmp_path, "claude", then)

    done = run(tmp_path, agent, "claude")

    assert done.returncode == code


def launched(folder: Path, agent: StandInAgent, **more: Any) -> subprocess.Popen[bytes]:
    """`dragoman run claude` in the background, on a port of its own."""
    environ = bare_environ(folder / "home", PATH=f"{BIN}:{agent.path}", PORT=str(free_port()))
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
    return subprocess.Popen(("dragoman", "run", "claude"), cwd=folder, env=environ, **{**pipes, **more})


def test_a_signal_reaches_the_agent_and_the_gateway_ends_with_it(tmp_path: Path) -> None:
    agent = StandInAgent(tmp_path, "claude", f"{WAITS_FOR.format(15)}; sys.exit(9)")
    with launched(tmp_path, agent, stdin=subprocess.DEVNULL) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"

        process.send_signal(signal.SIGTERM)

        assert process.wait(20) == 9
    url = agent.called().environ["ANTHROPIC_BASE_URL"]
    assert refuses(url)


def test_ctrl_c_is_for_the_agent_and_leaves_the_gateway(tmp_path: Path) -> None:
    agent = StandInAgent(tmp_path, "claude", f"{WAITS_FOR.format(2)}; print('heard', flush=True); sys.stdin.read()")
    with launched(tmp_path, agent, start_new_session=True) as process:
        assert process.stdout is not None
        assert process.stdin is not None
        process.stdout.readline()
        url = agent.called().environ["ANTHROPIC_BASE_URL"]

        os.killpg(process.pid, signal.SIGINT)

        assert process.stdout.readline() == b"heard\n"
        with urllib.request.urlopen(f"{url}/health", timeout=10) as reply:
            assert reply.status == 200
        process.stdin.close()
        assert process.wait(20) == 0
    assert refuses(url)


def test_a_gateway_that_does_not_take_the_key_is_not_used(tmp_path: Path) -> None:
    agent = StandInAgent(tmp_path, "claude")
    with GatewayProcess(tmp_path, DRAGOMAN__SERVER__API_KEYS='["another-key-123456"]') as gateway:
        (tmp_path / "dragoman.toml").write_text(CONFIG)

        done = run(tmp_path, agent, "claude", port=gateway.port)

    assert done.returncode == 0, done.stderr
    assert agent.called().environ["ANTHROPIC_BASE_URL"] != gateway.url


def test_the_gateway_ends_when_its_launcher_is_killed(tmp_path: Path) -> None:
    agent = StandInAgent(tmp_path, "claude", "print(os.getpid(), flush=True); sys.stdin.read()")
    with launched(tmp_path, agent) as process:
        assert process.stdout is not None
        process.stdout.readline()

        process.kill()

    url = agent.called().environ["ANTHROPIC_BASE_URL"]
    wait_until(lambda: refuses(url), 20, "the end of the gateway")


def test_the_home_is_left_as_it_was(tmp_path: Path) -> None:
    agent = StandInAgent(tmp_path, "claude")
    (tmp_path / "home").mkdir()

    run(tmp_path, agent, "claude", XDG_DATA_HOME=str(tmp_path / "data"))

    assert list((tmp_path / "home").iterdir()) == []


@pytest.mark.parametrize("name", list(AGENTS))
def test_what_is_printed_for_a_shell_leads_each_agent_as_running_it_does(name: str, tmp_path: Path) -> None:
    (tmp_path / "dragoman.toml").write_text(CONFIG)
    agent = StandInAgent(tmp_path, name)
    left_over = {"OPENAI_BASE_URL": "http://127.0.0.1:9", "ANTHROPIC_API_KEY": "sk-left-over"}
    given = {"PATH": f"{BIN}:{agent.path}", "PORT": "4711", "HTTPS_PROXY": "http://127.0.0.1:9", **left_over}

    done = subprocess.run(
        ["bash", "-c", f'eval "$(dragoman env {name})"; {name} the "whole task"'],
        cwd=tmp_path,
        env=bare_environ(tmp_path / "home", **given),
        capture_output=True,
        text=True,
        timeout=30,
    )

    assert (done.returncode, done.stderr) == (0, "")
    called = agent.called()
    told = f"{called.arguments} {called.environ} {called.files}"
    assert called.arguments[-2:] == ["the", "whole task"]
    assert "http://127.0.0.1:4711" in told
    assert "client-key-1234567890" in told
    assert "client-key-1234567890" not in str(called.arguments)
    assert {mode for _, mode in called.files.values()} <= {0o600}
    assert "127.0.0.1" in called.environ["NO_PROXY"]
    assert name != "goose" or "OPENAI_BASE_URL" not in called.environ
    assert name != "claude" or "ANTHROPIC_API_KEY" not in called.environ


def test_the_variables_are_printed_for_programs_with_the_window(tmp_path: Path) -> None:
    (tmp_path / "dragoman.toml").write_text(WINDOW)
    environ = bare_environ(tmp_path / "home", PORT="4711")

    done = subprocess.run(["dragoman", "env", "--json"], cwd=tmp_path, env=environ, capture_output=True, timeout=30)

    printed = json.loads(done.stdout)
    assert printed["variables"]["ANTHROPIC_BASE_URL"] == "http://127.0.0.1:4711"
    assert printed["variables"]["CLAUDE_CODE_AUTO_COMPACT_WINDOW"] == "50000"
    assert printed["flags"][0] == "--settings"
    assert "NO_PROXY" not in printed["variables"]


def refuses(url: str) -> bool:
    """Whether nobody listens at the URL any longer."""
    port = int(url.rpartition(":")[2])
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


def test_an_agent_gets_a_key_that_a_command_has_made(tmp_path: Path) -> None:
    agent = StandInAgent(tmp_path, "claude")
    environ = bare_environ(tmp_path / "home", PATH=f"{BIN}:{agent.path}")
    made = subprocess.run(
        ("dragoman", "keys", "create", "ana"), cwd=tmp_path, env=environ, capture_output=True, text=True, check=True
    )
    key = made.stdout.split()[0]

    without = run(tmp_path, agent, "claude")
    done = run(tmp_path, agent, "claude", DRAGOMAN_API_KEY=key)

    assert (without.returncode, "DRAGOMAN_API_KEY" in without.stderr) == (1, True)
    assert done.returncode == 0, done.stderr
    called = agent.called()
    assert settings_of(called.arguments, called.files)["env"]["ANTHROPIC_AUTH_TOKEN"] == key
