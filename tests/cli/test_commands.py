"""The small commands: configuration, version, completion, help."""

from __future__ import annotations

import json
import stat
import subprocess
from collections.abc import Iterator

import click
import pytest
from click.testing import CliRunner

from app.cli import main
from app.cli.serving.start_screen import ANY_KEY
from tests.cli.machine import Machine
from tests.support.gateway_process import BIN, bare_environ


def test_a_new_configuration_file_is_private_and_loads(machine: Machine) -> None:
    result = machine.run("config", "init")

    path = machine.folder / "dragoman.toml"
    assert result.exit_code == 0
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert set(json.loads(machine.run("config", "list").stdout)["providers"]) == {"demo"}


def test_a_new_configuration_file_keeps_what_is_in_force(machine: Machine) -> None:
    result = machine.run("config", "init", ANTHROPIC_API_KEY="sk-secret")

    text = (machine.folder / "dragoman.toml").read_text()
    assert 'api_key = "${ANTHROPIC_API_KEY}"' in text
    assert "sk-secret" not in text
    assert "kept: anthropic" in result.stdout
    listed = json.loads(machine.run("config", "list", ANTHROPIC_API_KEY="sk-secret").stdout)
    assert listed["models"]["default"] == "anthropic/claude-sonnet-4-6"
    assert set(listed["providers"]) == {"anthropic"}


def test_a_file_is_judged_as_serve_does_without_a_start(machine: Machine) -> None:
    good = machine.write("good.toml", '[providers.local]\nkind = "openai"\nbase_url = "http://127.0.0.1:9/v1"')
    bad = machine.write(
        "bad.toml",
        '[providers.local]\nkind = "openai"\nbase_url = "http://127.0.0.1:9/v1"\n[models]\ndefault = "lokal/qwen3"',
    )

    assert machine.run("config", "check", "-c", str(good)).exit_code == 0
    result = machine.run("config", "check", "-c", str(bad))
    assert result.exit_code == 1
    assert "models.default" in result.stderr


RIGHTS = {
    'providers = ["lokal"]': "'lokal' matches no configured provider; did you mean local?",
    'providers = ["x*"]': "'x*' matches no configured provider",
    'models = ["lokal/*"]': "'lokal/*' matches no configured and no known model",
    'models = ["claude-sonet-*"]': "'claude-sonet-*' matches no known model; did you mean claude-sonnet-",
    'models = ["calude*"]': "'calude*' matches no configured and no known model",
    'models = ["claude-snonet-5-5"]': "did you mean claude-sonnet-5-5?",
    'models = ["fsat"]': None,  # too short to be taken for another name
    'providers = ["loc*", "*"]': None,
    'models = ["local/*", "l*/qwen3", "fast", "f?st", "claude-*", "gpt-5*", "opus", "qwen3-coder:30b"]': None,
    'models = ["claude-sonnet-9-9", "claude-sonnet-4-5-20250929", "any-thing", "any-other*"]': None,
}


@pytest.mark.parametrize("rights", RIGHTS)
def test_a_right_that_matches_nothing_is_found(machine: Machine, rights: str) -> None:
    found = RIGHTS[rights]
    machine.write(
        "dragoman.toml",
        '[providers.local]\nkind = "openai"\nbase_url = "http://127.0.0.1:9/v1"\n'
        '[models.routes]\nfast = "local/a"\n"any-*" = "local/b"\n'
        f'[keys.ci]\nkey = "dm-0123456789abcdef"\n{rights}\n',
    )

    judged, read = machine.run("config", "check"), json.loads(machine.run("config", "check", "--json").stdout)

    assert judged.exit_code == 0
    assert len(read["warnings"]) == (found is not None)
    assert (found or "") in judged.stderr
    assert ("warning: keys.ci." in judged.stderr) == (found is not None)


def test_an_existing_configuration_file_is_not_touched(machine: Machine) -> None:
    path = machine.write("dragoman.toml", "# mine")

    result = machine.run("config", "init")

    assert result.exit_code == 1
    assert "already exists" in result.stderr
    assert path.read_text() == "# mine"


def test_the_listing_shows_what_is_in_force_and_no_secret(machine: Machine) -> None:
    result = machine.run("config", "list", OPENAI_API_KEY="sk-secret", PORT="99")

    listed = json.loads(result.stdout)
    assert listed["server"]["port"] == 99
    assert listed["providers"]["openai"]["api_key"] == "***"
    assert "sk-secret" not in result.output


def test_generated_keys_are_long_and_differ(machine: Machine) -> None:
    first, second = (machine.run("config", "generate-token").stdout.strip() for _ in range(2))

    assert len(first) >= 40
    assert first != second


def test_explain_names_the_upstreams_in_their_order(machine: Machine) -> None:
    machine.write(
        "dragoman.toml",
        '[providers.local]\nkind = "openai"\nbase_url = "http://127.0.0.1:9/v1"\n'
        '[models.routes]\nfast = { target = "local/m", fallback = "demo/demo", max_output = 77 }',
    )

    said = machine.run("explain", "fast").stdout

    assert said.index("1. local/m") < said.index("2. demo/demo")
    assert "http://127.0.0.1:9/v1/chat/completions" in said
    assert "output limit      77" in said


def test_explain_says_when_a_name_leads_nowhere(machine: Machine) -> None:
    machine.write("dragoman.toml", '[providers.a]\nkind = "openai"\n[providers.b]\nkind = "openai"')

    result = machine.run("explain", "unheard-of")

    assert result.exit_code == 1
    assert "has no address" in result.stderr


@pytest.mark.parametrize(
    ("quirk", "said"),
    [
        ("imgaes = false", "providers.x.quirks.imgaes: unknown quirk; did you mean images?"),
        ('images = "no"', "providers.x.quirks.images: expected true or false, got text"),
    ],
)
def test_a_wrong_quirk_is_told_before_any_request(machine: Machine, quirk: str, said: str) -> None:
    machine.write("dragoman.toml", f'[providers.x]\nkind = "openai"\nquirks = {{ {quirk} }}')

    result = machine.run("explain", "demo/demo")

    assert result.exit_code == 1
    assert said in result.stderr


def test_explain_names_the_profile_that_a_server_is_known_by(machine: Machine) -> None:
    machine.write("dragoman.toml", '[providers.x]\nkind = "openai"\nbase_url = "http://127.0.0.1:11434/v1"')

    told = machine.run("explain", "x/m").stdout

    assert "profile           ollama" in told
    assert "cuts_context = true  (servers.toml: ollama)" in told


def test_models_lists_what_clients_can_name(machine: Machine) -> None:
    machine.write("dragoman.toml", '[providers.demo]\n[models.routes]\nmine = "demo/demo"')

    assert "mine" in machine.run("models").stdout.splitlines()


def test_what_cannot_be_listed_is_told_once(machine: Machine) -> None:
    machine.write("dragoman.toml", '[providers.far]\nkind = "openai"\nbase_url = "http://127.0.0.1:9"\napi_key = "k"\n')

    told = machine.run("models")

    assert (told.exit_code, told.stdout, told.stderr.count("127.0.0.1:9")) == (1, "", 1)


def test_models_are_listed_where_all_keys_have_names(machine: Machine) -> None:
    machine.write("dragoman.toml", LOCAL + '[keys.ana]\nkey = "dm-ana-0123456789"\nmodels = ["nothing"]\n')

    assert "local/qwen3:8b" in machine.run("models").stdout.split()


@pytest.mark.parametrize(
    ("tables", "key"),
    [
        ("", ANY_KEY),
        (
            '[keys.a]\nkey = "dm-client-0123456"\n[keys.b]\nkey = "dm-admin-01234567"\nrole = "admin"',
            "dm-admin-01234567",
        ),
        ('[keys.a]\nkey = "dm-client-0123456"', "dm-client-0123456"),
        ('[server]\napi_keys = ["dm-plain-01234567"]\n[keys.a]\nkey = "dm-client-0123456"', "dm-plain-01234567"),
    ],
)
def test_commands_show_the_key_that_the_settings_tell(machine: Machine, tables: str, key: str) -> None:
    machine.write("dragoman.toml", f"{tables}\n{LOCAL}" if tables.startswith("[server") else LOCAL + tables)

    told = json.loads(machine.run("env", "--model", "local/qwen3:8b", "--json").stdout)

    assert told["variables"]["ANTHROPIC_AUTH_TOKEN"] == key


@pytest.mark.parametrize("made", [True, False], ids=["by command", "in the settings"])
def test_no_agent_is_given_a_made_up_key_where_only_hashes_are_known(machine: Machine, made: bool) -> None:
    machine.write("dragoman.toml", LOCAL + ("" if made else f'[keys.a]\nkey = "sha256:{"a" * 64}"'))
    if made:
        assert machine.run("keys", "create", "alice").exit_code == 0

    for command in (["env"], ["configure", "codex", "--dry-run"]):
        told = machine.run(*command, "--model", "local/qwen3:8b")
        assert told.exit_code == 1
        assert "export DRAGOMAN_API_KEY=…, with one of its keys" in told.stderr


@pytest.mark.parametrize("option", ["-V", "-v", "--version"])
def test_the_version_is_one_line(machine: Machine, option: str) -> None:
    assert machine.run(option).stdout.startswith("dragoman, version ")


def test_version_names_the_parts_a_bug_report_needs(machine: Machine) -> None:
    lines = machine.run("version").stdout.splitlines()

    assert [line.split()[0] for line in lines][:3] == ["dragoman", "python", "gunicorn"]


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish", "powershell"])
def test_each_shell_gets_its_completion_script(machine: Machine, shell: str) -> None:
    script = machine.run("completion", shell).stdout

    assert "_DRAGOMAN_COMPLETE" in script
    assert "%(" not in script


@pytest.mark.parametrize(
    ("words", "typed", "offered"),
    [
        (("dragoman",), "expl", ["explain\tShow which upstreams would answer for..."]),
        (("dragoman", "explain"), "loc", ["local/qwen3\tlocal/qwen3"]),
        (("dragoman", "explain"), "'@c", ["'@cf/a b'\t@cf/a b"]),
        (("dragoman", "serve", "--config"), "", []),
    ],
)
def test_powershell_is_answered_as_it_parses(
    machine: Machine, words: tuple[str, ...], typed: str, offered: list[str]
) -> None:
    machine.write(
        "dragoman.toml",
        '[providers.local]\nkind = "ollama"\nmodels = ["qwen3"]\n[models.routes]\n"@cf/a b" = "local/qwen3"\n',
    )
    given = {"COMP_WORDS": "\n".join(words), "_DRAGOMAN_COMPLETE": "powershell_complete"}

    done = subprocess.run(
        [str(BIN / "dragoman")],
        env=bare_environ(machine.home, **given, **({"COMP_CWORD": typed} if typed else {})),
        cwd=machine.folder,
        capture_output=True,
        text=True,
        timeout=20,
    )

    assert [line for line in done.stdout.splitlines() if line] == offered
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("option", ["-h", "--help"])
def test_help_lists_the_commands(machine: Machine, option: str) -> None:
    said = machine.run(option).stdout

    assert {"serve", "models", "config", "version", "completion"} <= {
        line.split()[0] for line in said.splitlines() if line.startswith("  ")
    }


def test_codex_is_switched_on_and_off_in_the_file(machine: Machine) -> None:
    file = machine.write("dragoman.toml", "# ours\n" + LOCAL)

    machine.run("config", "codex", "--enable")
    enabled = file.read_text()
    again = machine.run("config", "codex", "--enable")
    off = machine.run("config", "codex", "--disable")

    assert enabled.startswith("# ours")
    assert 'kind = "codex"' in enabled
    assert "nothing to change" in again.stdout
    assert off.exit_code == 0
    assert "codex" not in file.read_text()


# ---- explain, and JSON for programs


LOCAL = """
[providers.local]
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
models = ["qwen3:8b"]
context_window = { "qwen3:*" = 32768 }
[models]
default = "local/qwen3:8b"
"""


@pytest.mark.parametrize(("typed", "meant"), [("serv", "serve"), ("logn", "login"), ("docter", "doctor")])
def test_a_command_that_is_mistyped_is_told_with_the_one_that_is_meant(
    machine: Machine, typed: str, meant: str
) -> None:
    result = machine.run(typed)

    assert result.exit_code == 2
    assert f"Did you mean {meant}?" in result.stderr


@pytest.mark.parametrize("body", ["{,", "[]", '"x"', "[" * 100_000, '{"input": {}}'])
def test_a_body_that_is_no_request_ends_explain_in_words(machine: Machine, body: str) -> None:
    machine.write("dragoman.toml", LOCAL)
    machine.write("body.json", body)

    result = machine.run("explain", "local/m", "--body", "body.json")

    assert result.exit_code in (1, 2)
    assert result.stderr.splitlines()[-1].startswith("Error: ")


@pytest.mark.parametrize(
    ("name", "why"),
    [("local/x", "the name itself"), ("qwen3:8b", "the list of local"), ("claude-sonnet-4-6", "models.default")],
)
def test_explain_says_why_a_name_leads_there(machine: Machine, name: str, why: str) -> None:
    machine.write("dragoman.toml", LOCAL)

    assert f"because           {why}" in machine.run("explain", name).stdout


def test_explain_shows_the_window_and_what_becomes_of_a_request(machine: Machine) -> None:
    machine.write("dragoman.toml", LOCAL)
    body = {"model": "claude-sonnet-4-6", "max_tokens": 9, "top_k": 3, "messages": [{"role": "user", "content": "hi"}]}
    machine.write("body.json", json.dumps(body))

    (told,) = json.loads(machine.run("explain", "--json", "--body", "body.json").stdout)

    assert (told["upstream"], told["context window"]) == ("local/qwen3:8b", "32768")
    assert told["read as"] == "anthropic_messages"
    assert told["body"]["model"] == "qwen3:8b"
    assert told["body"]["messages"] == [{"role": "user", "content": "hi"}]


def test_explain_wants_a_model_from_somewhere(machine: Machine) -> None:
    assert machine.run("explain").exit_code == 2


def walk(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """A command and all below it, with the words that call each."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            if (below := command.get_command(context, name)) is not None:
                yield from walk(below, (*path, name))


COMMANDS = dict(walk(main))
# What these print is for a person, or for a shell or an editor in a form of its own.
WITHOUT_JSON = {
    *(
        "auth login",
        "auth login-openai",
        "auth logout",
        "completion",
        "config codex",
        "config generate-token",
        "config init",
    ),
    *("config schema", "configure", "dashboard", "import", "keys disable", "keys hash", "login", "logout"),
    *("permissions", "record", "run", "serve", "service install", "service uninstall", "unconfigure"),
}


@pytest.mark.parametrize("words", COMMANDS, ids=" ".join)
def test_every_command_explains_itself(machine: Machine, words: tuple[str, ...]) -> None:
    short, long = (machine.run(*words, option) for option in ("-h", "--help"))

    assert (short.exit_code, long.exit_code) == (0, 0)
    assert short.stdout == long.stdout
    assert short.stdout.startswith("Usage: ")
    assert COMMANDS[words].help or not words


def test_every_command_that_shows_something_has_json() -> None:
    silent = {
        " ".join(words)
        for words, command in COMMANDS.items()
        if not isinstance(command, click.Group) and not any("--json" in each.opts for each in command.params)
    }

    assert silent == WITHOUT_JSON


@pytest.mark.parametrize(
    "command",
    [
        *(("models",), ("version",), ("status",), ("auth", "status"), ("explain", "qwen3:8b"), ("prices",)),
        *(("config", "list"), ("config", "check"), ("auth", "providers"), ("env", "--model", "local/a")),
        *(("keys", "create", "ci"), ("service", "status")),
    ],
    ids=" ".join,
)
def test_programs_read_json(machine: Machine, command: tuple[str, ...]) -> None:
    machine.write("dragoman.toml", LOCAL)

    assert json.loads(machine.run(*command, "--json").stdout)


def test_programs_read_all_faults_of_a_file(machine: Machine) -> None:
    machine.write("dragoman.toml", "[server]\nprot = 1\nport = 99999999\n")

    judged = machine.run("config", "check", "--json")

    told = json.loads(judged.stdout)
    assert judged.exit_code == 1
    assert told["ok"] is False
    assert len([fault for fault in told["faults"] if "dragoman.toml:" in fault]) == 2


def test_a_shell_offers_models_and_logins(machine: Machine) -> None:
    machine.write("dragoman.toml", LOCAL + '[models.routes]\nlong = "local/a"\n"l*" = "local/b"')

    def offer(words: str) -> list[str]:
        environ = {"_DRAGOMAN_COMPLETE": "bash_complete", "COMP_WORDS": words, "COMP_CWORD": "2"}
        result = CliRunner(env=environ).invoke(main, prog_name="dragoman", complete_var="_DRAGOMAN_COMPLETE")
        return [line.split(",")[1] for line in result.stdout.split()]

    assert offer("dragoman explain lo") == ["long", "local/qwen3:8b"]
    assert offer("dragoman login o") == ["oca"]
