"""The settings: one table of layers, each key in each layer, and errors that name what is wrong."""

from __future__ import annotations

import json
from collections.abc import Mapping
from email.message import Message
from importlib import metadata
from pathlib import Path
from typing import Any

import pytest

from app.errors import ConfigError
from app.settings import Settings, find_document, load_settings, masked, write_settings
from app.settings.differences import compare_files

SECRETS = ("sk-secret-one", "sk-secret-two", "tok-secret-three", "hdr-secret-four", "hunter2")


@pytest.fixture(autouse=True)
def working_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Path:
    home = tmp_path / "home"
    home.mkdir()
    return home


def load(home: Path, file: str | None = None, overrides: Mapping[str, Any] | None = None, **environ: str) -> Settings:
    environ = {"HOME": str(home), "XDG_CONFIG_HOME": str(home / ".config")} | environ
    path = None
    if file is not None:
        path = home / "settings.toml"
        path.write_text(file)
    return load_settings(path, environ, overrides or {})


def refused(home: Path, file: str | None = None, **environ: str) -> ConfigError:
    with pytest.raises(ConfigError) as caught:
        load(home, file, **environ)
    return caught.value


def put(path: Path, content: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


# ---- layers


def test_an_empty_machine_gets_the_demo_on_loopback(home: Path) -> None:
    settings = load(home)

    assert (settings.server.host, settings.server.port, settings.server.workers) == ("127.0.0.1", 8080, 1)
    assert {name: provider.kind for name, provider in settings.providers.items()} == {"demo": "demo"}
    assert settings.models.default == "demo/demo"
    assert settings.source is None


LAYERS: dict[str, dict[str, Any]] = {
    "file": {"file": "[server]\nport = 1001\n"},
    "plain variable": {"PORT": "1002"},
    "prefixed variable": {"DRAGOMAN__SERVER__PORT": "1003"},
    "handed on by serve": {"DRAGOMAN_OVERRIDES": '{"server": {"port": 1004}}'},
    "override": {"overrides": {"server": {"port": 1005}}},
}


@pytest.mark.parametrize("count", range(1, len(LAYERS) + 1))
def test_each_layer_wins_over_the_ones_before_it(home: Path, count: int) -> None:
    layers: dict[str, Any] = {}
    for layer in list(LAYERS.values())[:count]:
        layers |= layer

    settings = load(home, **layers)

    assert settings.server.port == 1000 + count


def test_tables_of_two_layers_are_merged_key_by_key(home: Path) -> None:
    file = '[providers.local]\nkind = "openai"\nbase_url = "http://127.0.0.1:9/v1"\n'

    settings = load(home, file, DRAGOMAN__PROVIDERS__LOCAL__API_KEY="k")

    assert settings.providers["local"].base_url == "http://127.0.0.1:9/v1"
    assert settings.providers["local"].api_key == "k"


def test_a_list_or_table_in_a_variable_is_json(home: Path) -> None:
    settings = load(home, DRAGOMAN__SERVER__API_KEYS='["a", "b"]', DRAGOMAN__MODELS__ROUTES='{"GPT*": "demo/demo"}')

    assert settings.server.api_keys == ("a", "b")
    assert settings.models.routes["GPT*"].targets == ("demo/demo",)


def test_text_in_a_variable_counts_as_the_type_of_its_key(home: Path) -> None:
    settings = load(home, DRAGOMAN__SERVER__ALLOW_OPEN="true", DRAGOMAN__SERVER__PING_INTERVAL="2.5")

    assert settings.server.allow_open is True
    assert settings.server.ping_interval == 2.5


def test_digits_stay_text_where_text_is_meant(home: Path) -> None:
    settings = load(home, DRAGOMAN__PROVIDERS__OPENAI__API_KEY="12345", DRAGOMAN__SERVER__HOST="127.0.0.2")

    assert settings.providers["openai"].api_key == "12345"


def test_the_plain_key_variable_adds_a_client_key(home: Path) -> None:
    settings = load(home, '[server]\napi_keys = ["one"]', PROXY_API_KEY="two")

    assert settings.server.api_keys == ("one", "two")


def test_a_key_from_a_file_loses_its_line_end(home: Path) -> None:
    assert load(home, '[server]\napi_keys = [" one\\n"]', PROXY_API_KEY="two\n").server.api_keys == ("one", "two")
    assert refused(home, '[server]\napi_keys = [" "]').key == "server.api_keys"


@pytest.mark.parametrize(
    "pasted",
    ['"sk-1"', "'sk-1'", "\u201csk-1\u201d", "Bearer sk-1", '"bearer  sk-1"', "sk-1\u200b", "\xa0sk-1\r\n"],
    ids=ascii,
)
def test_a_key_is_read_without_what_surrounds_it(home: Path, pasted: str) -> None:
    """moby/moby#12997: `docker run --env-file` keeps quotes."""
    file = '[server]\napi_keys = ["${A_KEY}"]\n[providers.openai]\ncredentials = ["${A_KEY}", { api_key = "${A_KEY}" }]'

    settings = load(home, file, A_KEY=pasted, PROXY_API_KEY=pasted)

    assert set(settings.server.api_keys) == {"sk-1"}
    assert [entry.api_key for entry in settings.providers["openai"].credentials] == ["sk-1", "sk-1"]


@pytest.mark.parametrize(
    "words",
    ["$A_KEY", "%A_KEY%", "{env:A_KEY}", "${env:A_KEY}", "{{A_KEY}}", "os.environ/A_KEY", "env:A_KEY", "$env:A_KEY"],
)
def test_a_variable_in_another_program_s_words_is_no_key(home: Path, words: str) -> None:
    error = refused(home, f'[providers.openai]\napi_key = "{words}"', A_KEY="sk-1")

    assert error.key == "providers.openai.api_key"
    assert "write ${A_KEY}" in str(error)


def test_a_key_that_no_header_can_carry_is_refused_by_its_character(home: Path) -> None:
    error = refused(home, '[providers.openai]\napi_key = "sk-\u043e"')

    assert (error.key, "U+043E, its character 4" in str(error)) == ("providers.openai.api_key", True)


@pytest.mark.parametrize(("given", "meant"), [({}, "d:e"), ({"A_KEY": ""}, "d:e"), ({"A_KEY": "k"}, "k")])
def test_a_variable_may_have_a_default(home: Path, given: dict[str, str], meant: str) -> None:
    settings = load(home, '[providers.openai]\napi_key = "${A_KEY:-d:e}"', **given)

    assert settings.providers["openai"].api_key == meant


@pytest.mark.parametrize("encoding", ["utf-16", "utf-16-be"])
def test_a_file_in_utf_16_is_named_as_such(home: Path, encoding: str) -> None:
    (home / "c.toml").write_bytes(
        "\ufeff[server]".encode(encoding) if encoding.endswith("be") else "[server]".encode(encoding)
    )

    with pytest.raises(ConfigError, match="is UTF-16; save it as UTF-8"):
        load_settings(home / "c.toml", {"HOME": str(home)}, {})


@pytest.mark.parametrize("file", ['[server]\napi_keys = "one"', "server = 1"])
def test_the_plain_key_variable_does_not_hide_what_is_wrong(home: Path, file: str) -> None:
    assert refused(home, file, PROXY_API_KEY="two").key.startswith("server")


@pytest.mark.parametrize(
    ("given", "meant"),
    [("DEBUG", "debug"), ("WARN", "warn"), ("warning", "warn"), ("verbose", "debug"), ("Critical", "error")],
)
def test_log_level_is_read_in_the_spellings_of_the_field(home: Path, given: str, meant: str) -> None:
    assert load(home, LOG_LEVEL=given).server.log_level == meant


def test_a_log_level_of_another_program_is_ignored_with_a_warning(home: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert load(home, '[server]\nlog_level = "error"', LOG_LEVEL="http").server.log_level == "error"
    assert "LOG_LEVEL=http" in caplog.text


@pytest.mark.parametrize("variable", ["PORT", "DRAGOMAN__SERVER__PORT"])
def test_a_wrong_value_of_a_variable_is_reported_with_that_variable_and_not_with_the_file(
    home: Path, variable: str
) -> None:
    error = str(refused(home, "[server]\nport = 8080", **{variable: "abc"}))

    assert error.startswith(f"{variable} server.port: ")


# ---- files


def test_the_first_file_found_counts(home: Path, working_folder: Path) -> None:
    user = put(home / ".config" / "dragoman" / "config.toml", "[server]\nport = 1")
    after_user = load(home)
    here = put(working_folder / "dragoman.toml", "[server]\nport = 2")
    after_here = load(home)
    named = put(home / "named.toml", "[server]\nport = 3")
    after_named = load(home, DRAGOMAN_CONFIG=str(named))
    after_given = load(home, "[server]\nport = 4", DRAGOMAN_CONFIG=str(named))

    ports = [each.server.port for each in (after_user, after_here, after_named, after_given)]
    assert ports == [1, 2, 3, 4]
    assert [each.source for each in (after_user, after_here, after_named)] == [user, here, named]


def test_a_named_file_that_is_missing_is_an_error(home: Path) -> None:
    assert refused(home, DRAGOMAN_CONFIG="/nowhere/x.toml").key == "DRAGOMAN_CONFIG"
    with pytest.raises(ConfigError, match=r"--config: the file .* does not exist"):
        load_settings(Path("/nowhere/x.toml"), {"HOME": str(home)}, {})


def test_a_file_that_is_no_toml_is_an_error_that_names_it_and_the_line(home: Path) -> None:
    message = str(refused(home, "[server\n"))

    assert "settings.toml" in message
    assert "line 1" in message


def test_paths_in_a_file_start_in_its_folder_and_may_name_the_home(home: Path) -> None:
    settings = load(
        home, '[providers.a]\nkind="oca"\ntoken_file="t.json"\n[providers.b]\nkind="oca"\ntoken_file="~/x/t.json"'
    )

    assert settings.providers["a"].token_file == str(home / "t.json")
    assert settings.providers["b"].token_file == str(home / "x" / "t.json")


# ---- variables in values


def test_variables_are_replaced_anywhere_in_a_value(home: Path) -> None:
    file = '[providers.openai]\napi_key="a${KEY}b${KEY}"\nheaders={ x = "${KEY}" }\nmodels=["$${KEY}", "$5"]'

    provider = load(home, file, KEY="-").providers["openai"]

    assert provider.api_key == "a-b-"
    assert provider.headers == {"x": "-"}
    assert provider.models == ("${KEY}", "$5")


def test_an_undefined_variable_is_an_error_that_names_key_and_variable(home: Path) -> None:
    error = refused(home, '[providers.openai]\napi_key = "${NO_SUCH}"')

    assert error.key == "providers.openai.api_key"
    assert "NO_SUCH" in str(error)


def test_a_variable_set_to_nothing_is_not_accepted_as_a_client_key(home: Path) -> None:
    assert refused(home, '[server]\napi_keys = ["${KEY}"]', KEY="").key == "server.api_keys"


# ---- errors

WRONG = {
    "unknown section": ("[sever]\nport=1", "sever", "did you mean server?"),
    "unknown key": ("[server]\nprot=1", "server.prot", "did you mean port?"),
    "unknown provider key": ('[providers.openai]\nbase_ulr="x"', "providers.openai.base_ulr", "did you mean base_url?"),
    "unknown route key": (
        '[models.routes]\nx={target="a/b", max_ouput=1}',
        'models.routes."x".max_ouput',
        "max_output",
    ),
    "text for a number": ('[server]\nport="eighty"', "server.port", "a whole number, got text"),
    "port too high": ("[server]\nport=70000", "server.port", "65535"),
    "time of zero": ("[providers.openai]\nidle_timeout=0", "providers.openai.idle_timeout", "> 0"),
    "value for a table": ("server=1", "server", "table"),
    "text for a list": ('[server]\napi_keys="one"', "server.api_keys", "a list"),
    "value for a provider": ("[providers]\nx=1", "providers.x", "table"),
    "level that is none": ('[server]\nlog_level="loud"', "server.log_level", "debug, info, warn, error"),
    "text for a number that may be left out": (
        '[models.routes]\nx={target="a/b", max_output="many"}',
        'models.routes."x".max_output',
        "expected a whole number, got text",
    ),
    "profile that is none": ('[providers.openai]\nprofile="vlm"', "providers.openai.profile", "vllm"),
    "kind that is none": ('[providers.x]\nkind="opnai"', "providers.x.kind", "did you mean openai?"),
    "kind left out": ('[providers.x]\nbase_url="http://h"', "providers.x.kind", "oca, anthropic"),
    "dialect of another kind": (
        '[providers.anthropic]\ndialect="openai_chat"',
        "providers.anthropic.dialect",
        "anthropic_messages",
    ),
    "URL without scheme": ('[providers.openai]\nbase_url="localhost:1"', "providers.openai.base_url", "http://"),
    "name with a slash": ('[providers."a/b"]\nkind="demo"', "providers.a/b", "letters"),
    "route to nothing": ("[models.routes]\nx=[]", 'models.routes."x"', "target"),
    "strict and lenient": (
        '[models.routes]\nx={target="a/b", strict=true, lenient=true}',
        'models.routes."x"',
        "either",
    ),
    "no provider left": ("[server]\ndemo=false", "providers", "demo"),
}


@pytest.mark.parametrize(("file", "key", "said"), WRONG.values(), ids=WRONG)
def test_what_is_wrong_is_refused_by_key(home: Path, file: str, key: str, said: str) -> None:
    error = refused(home, file)

    assert error.key == key
    assert said in str(error)


def test_an_unknown_key_in_a_variable_is_refused_too(home: Path) -> None:
    assert refused(home, DRAGOMAN__SERVER__PROT="1").key == "server.prot"


@pytest.mark.parametrize("variable", ["DRAGOMAN__SERVER__API_KEYS", "DRAGOMAN__MODELS__ROUTES"])
def test_broken_json_in_a_variable_names_the_variable(home: Path, variable: str) -> None:
    assert refused(home, **{variable: '["a"'}).key == variable


def test_a_configuration_that_cannot_be_looked_at_is_not_passed_over(home: Path) -> None:
    too_long = f"/{'x' * 300}"

    assert "cannot be read" in str(refused(home, XDG_CONFIG_HOME=too_long))


def test_credentials_that_cannot_be_looked_at_are_not_found(home: Path) -> None:
    too_long = f"/{'x' * 300}"

    settings = load(home, CLINE_DATA_DIR=too_long, CLAUDE_CONFIG_DIR=too_long, CODEX_HOME=too_long)

    assert set(settings.providers) == {"demo"}


# ---- who may reach it


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "192.0.2.1", "gateway.example", "unix:/run/dragoman.sock"])
def test_other_machines_are_not_served_without_a_key(home: Path, host: str) -> None:
    assert refused(home, DRAGOMAN__SERVER__HOST=host).key == "server.api_keys"


@pytest.mark.parametrize("host", ["x86_64-conda-linux-gnu", "my-workstation", "gateway.example", "[::1", "10.0.0"])
def test_a_host_of_the_shell_that_is_no_address_is_ignored_and_said(
    home: Path, host: str, caplog: pytest.LogCaptureFixture
) -> None:
    settings = load(home, '[server]\nhost = "127.0.0.9"', HOST=host)

    assert settings.server.host == "127.0.0.9"
    assert f"HOST={host}" in caplog.text


@pytest.mark.parametrize(
    ("text", "program"),
    [
        ("model_list:\n  - model_name: x\n", "LiteLLM"),
        ('{"Providers": [], "Router": {}}', "claude-code-router"),
        ('{"$schema": "https://opencode.ai/config.json"}', "opencode"),
        ('{"anything": 1}', "JSON"),
    ],
)
def test_the_file_of_another_program_is_known_as_such(home: Path, text: str, program: str) -> None:
    said = str(refused(home, text))

    assert program in said
    assert "dragoman config init" in said


@pytest.mark.parametrize(
    ("kind", "line"),
    [
        ("openai", 'command = "helper"'),
        ("claude_cli", 'idcs_url = "https://issuer.example"'),
        ("openai", "cli_refresh = true"),
        ("anthropic", 'mode = "external"'),
        ("anthropic", "max_processes = 2"),
        ("demo", 'client_id = "x"'),
    ],
)
def test_a_setting_that_would_do_nothing_is_refused(home: Path, kind: str, line: str) -> None:
    error = refused(home, f'[providers.a]\nkind = "{kind}"\n{line}')

    assert error.key == f"providers.a.{line.partition(' ')[0]}"
    assert "has no effect" in str(error)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.9", "::1", "localhost"])
def test_this_machine_is_served_without_a_key(home: Path, host: str) -> None:
    assert load(home, HOST=host).server.host == host


@pytest.mark.parametrize("more", [{"PROXY_API_KEY": "k"}, {"DRAGOMAN__SERVER__ALLOW_OPEN": "true"}])
def test_a_key_or_the_word_of_the_operator_opens_the_gateway(home: Path, more: dict[str, str]) -> None:
    assert load(home, HOST="0.0.0.0", **more).server.host == "0.0.0.0"


# ---- routes and providers

ROUTES = {
    "text": ('"a/b"', ("a/b",)),
    "list": ('["a/b", "c/d"]', ("a/b", "c/d")),
    "table": ('{ target = "a/b" }', ("a/b",)),
    "table with fallback": ('{ target = "a/b", fallback = ["c/d"] }', ("a/b", "c/d")),
}


@pytest.mark.parametrize(("written", "targets"), ROUTES.values(), ids=ROUTES)
def test_a_route_is_written_in_three_ways(home: Path, written: str, targets: tuple[str, ...]) -> None:
    assert load(home, f"[models.routes]\nx = {written}").models.routes["x"].targets == targets


def test_a_route_carries_its_effort_and_limit(home: Path) -> None:
    file = '[models.routes]\nx = { target = "a/b", reasoning_effort = "high", max_output = 9, strict = true }'

    route = load(home, file).models.routes["x"]

    assert (route.reasoning_effort, route.max_output, route.strict, route.lenient) == ("high", 9, True, False)


def test_a_provider_named_like_its_kind_need_not_name_it(home: Path) -> None:
    assert load(home, "[providers.anthropic]").providers["anthropic"].kind == "anthropic"


DEMO = {
    "alone": ("", {}, True),
    "beside another provider": ("[providers.openai]", {}, False),
    "wanted beside another": ("[server]\ndemo=true\n[providers.openai]", {}, True),
    "unwanted": ("[server]\ndemo=false\n[providers.openai]", {}, False),
    "named by a route": ('[providers.openai]\n[models.routes]\nx="demo/demo"', {}, True),
    "named as the small model": ('[providers.openai]\n[models]\nsmall="demo/s"', {}, True),
    "configured beside another": ("[providers.openai]\n[providers.demo]", {}, True),
    "on a host with keys": ('[server]\napi_keys=["k"]', {}, False),
    "on a host with a key in the environment": ("", {"PROXY_API_KEY": "k"}, False),
    "on a host with keys that configures it": ('[server]\napi_keys=["k"]\n[providers.demo]', {}, True),
    "beside a found credential": ("", {"OPENAI_API_KEY": "k"}, False),
}


@pytest.mark.parametrize(("file", "environ", "there"), DEMO.values(), ids=DEMO)
def test_the_demo_is_offered_only_where_there_is_nothing_else_or_it_is_named(
    home: Path, file: str, environ: dict[str, str], there: bool
) -> None:
    settings = load(home, file, **environ)

    assert ("demo" in settings.providers) is there
    assert (settings.models.default == "demo/demo") is (list(settings.providers) == ["demo"])


# ---- the models that a kind brings along

BROUGHT = {
    "oca": ("[providers.oca]", ("oca/gpt-4.1", "oca/grok-code-fast-1", "oca/grok-code-fast-1")),
    "oca under another name": (
        '[providers.work]\nkind="oca"',
        ("work/gpt-4.1", "work/grok-code-fast-1", "work/grok-code-fast-1"),
    ),
    "openai": ("[providers.openai]", ("openai/gpt-5", "openai/gpt-5-mini", "openai/gpt-5")),
    "openai behind another address": (
        '[providers.openai]\nbase_url="http://127.0.0.1:9/v1"',
        ("openai/gpt-5", "openai/gpt-5-mini", "openai/gpt-5"),
    ),
    "anthropic": ("[providers.anthropic]", ("anthropic/claude-sonnet-4-6", None, None)),
    "the Claude program": ('[providers.c]\nkind="claude_cli"', ("c/claude-sonnet-4-6", None, None)),
    "codex": ("[providers.codex]", ("codex/gpt-5.5", None, None)),
    "any server": ('[providers.local]\nkind="openai"\nbase_url="http://127.0.0.1:9/v1"', (None, None, None)),
    "any server with a list": (
        '[providers.local]\nkind="openai"\nbase_url="http://127.0.0.1:9/v1"\nmodels=["a", "b"]',
        ("local/a", None, None),
    ),
    "a main model": ('[providers.openai]\ndefault_model="gpt-9"', ("openai/gpt-9", None, None)),
    "a list without the usual model": ('[providers.anthropic]\nmodels=["x"]', ("anthropic/x", None, None)),
    "Claude's names stay with who knows them": (
        "[providers.oca]\n[providers.anthropic]",
        ("oca/gpt-4.1", None, None),
    ),
    "a default is a word": ('[providers.oca]\n[models]\ndefault="oca/x"', ("oca/x", None, None)),
    "a tier is one tier": (
        '[providers.oca]\n[models]\nsmall="oca/x"',
        ("oca/gpt-4.1", "oca/x", "oca/grok-code-fast-1"),
    ),
}


@pytest.mark.parametrize(("file", "models"), BROUGHT.values(), ids=BROUGHT)
def test_a_configured_kind_brings_its_models_along(
    home: Path, file: str, models: tuple[str | None, str | None, str | None]
) -> None:
    found = load(home, file).models

    assert (found.default, found.small, found.big) == models


def test_a_configured_provider_takes_the_address_that_the_environment_has(home: Path) -> None:
    environ = {
        "OCA_BASE_URL": "http://127.0.0.1:1/oca",
        "OCA_MODE": "external",
        "ANTHROPIC_API_BASE": "http://a.example",
    }

    plain = load(home, "[providers.oca]\n[providers.anthropic]", **environ).providers
    said = load(home, '[providers.oca]\nmode="internal"\n[providers.anthropic]\nbase_url="http://b.example"', **environ)

    assert (plain["oca"].base_url, plain["oca"].mode) == ("http://127.0.0.1:1/oca", "external")
    assert plain["anthropic"].base_url == "http://a.example"
    assert (said.providers["oca"].base_url, said.providers["oca"].mode) == (None, "internal")
    assert said.providers["anthropic"].base_url == "http://b.example"


TOKENS = {"no file": "", "a file that names another provider": "[providers.anthropic]", "its own": "[providers.oca]"}


@pytest.mark.parametrize("file", TOKENS.values(), ids=TOKENS)
def test_a_named_token_is_oracle_code_assist_wherever_its_file_lies(home: Path, file: str) -> None:
    overrides = {"providers": {"oca": {"token_file": "/elsewhere/token.json"}}}

    settings = load(home, file, overrides, OCA_BASE_URL="http://127.0.0.1:1/oca", OCA_TOKEN="of the environment")

    oca = settings.providers["oca"]
    assert (oca.token_file, oca.access_token) == ("/elsewhere/token.json", None)
    assert oca.base_url == "http://127.0.0.1:1/oca"
    if "anthropic" not in settings.providers:
        assert settings.models.default == "oca/gpt-4.1"
        assert settings.models.big == "oca/grok-code-fast-1"


# ---- servers by their names

SERVERS = {
    "as a kind": ('[providers.box]\nkind="ollama"', {}, ("http://127.0.0.1:11434/v1", "ollama", None)),
    "as a name": ("[providers.ollama]", {}, ("http://127.0.0.1:11434/v1", "ollama", None)),
    "at another address": (
        '[providers.ollama]\nbase_url="http://box:1/v1"',
        {},
        ("http://box:1/v1", "ollama", None),
    ),
    "under another spelling": (
        '[providers.x]\nkind="lm-studio"',
        {},
        ("http://127.0.0.1:1234/v1", "lmstudio", None),
    ),
    "a service with its key": (
        "[providers.openrouter]",
        {"OPENROUTER_API_KEY": "k"},
        ("https://openrouter.ai/api/v1", "openrouter", "k"),
    ),
    "a service with a key of the file": (
        '[providers.groq]\napi_key="mine"',
        {"GROQ_API_KEY": "k"},
        ("https://api.groq.com/openai/v1", None, "mine"),
    ),
    "a key stays with its service": (
        '[providers.deepseek]\nbase_url="http://elsewhere.example"',
        {"DEEPSEEK_API_KEY": "k"},
        ("http://elsewhere.example", "deepseek", None),
    ),
}


@pytest.mark.parametrize(("file", "environ", "expected"), SERVERS.values(), ids=SERVERS)
def test_a_known_server_is_configured_by_its_name(
    home: Path, file: str, environ: dict[str, str], expected: tuple[str, str | None, str | None]
) -> None:
    (provider,) = load(home, file, **environ).providers.values()

    assert provider.kind == "openai"
    assert (provider.base_url, provider.profile, provider.api_key) == expected


def test_a_misspelt_server_is_answered_with_its_name(home: Path) -> None:
    assert "did you mean ollama?" in str(refused(home, '[providers.x]\nkind="olama"'))


# ---- all faults at once


def test_all_faults_are_told_at_once_with_file_and_line(home: Path) -> None:
    file = """
port = 9000
[server]
prot = 1
workers = "many"
[providers.local]
kind = "opnai"
[providers."two"]
kind = "openai"
base_url = "localhost:1"
[models.routes]
"a*" = { target = "x/y", max_ouput = 3 }
"""

    error = refused(home, file)

    said = str(error).replace(str(home / "settings.toml"), "FILE").splitlines()
    assert said == [
        "FILE:2 port: there is no such setting; it belongs in [server]",
        "FILE:4 server.prot: there is no such setting; did you mean port?",
        "FILE:5 server.workers: expected a whole number, got text",
        "FILE:7 providers.local.kind: unknown kind 'opnai'; did you mean openai?",
        "FILE:10 providers.two.base_url: a URL must start with http:// or https:// and a host",
        'FILE:12 models.routes."a*".max_ouput: there is no such setting; did you mean max_output?',
    ]


def test_all_variables_that_are_not_set_are_told_at_once(home: Path) -> None:
    error = refused(home, '[providers.openai]\napi_key = "${ONE}"\nbase_url = "${TWO}"')

    assert [fault.key for fault in error.faults] == ["providers.openai.api_key", "providers.openai.base_url"]


def test_a_variable_that_is_not_set_hides_no_other_fault_and_is_told_once(home: Path) -> None:
    error = refused(
        home,
        '[server]\nprot = 1\nport = "${ONE}"\napi_keys = ["${TWO}"]\n'
        '[providers.local]\nkind = "openai"\nbase_url = "${THREE}"\nconnect_timeout = -1\n'
        '[keys.ana]\nkey = "dm-ana-0123456789"\nrole = "king"\nexpires = "tomorrow"\n',
    )

    assert {fault.key for fault in error.faults} == {
        *("server.port", "server.api_keys", "providers.local.base_url", "server.prot"),
        *("providers.local.connect_timeout", "keys.ana.role", "keys.ana.expires"),
    }
    assert len(error.faults) == 7


def test_a_file_with_the_mark_of_a_windows_editor_is_read(home: Path) -> None:
    assert load(home, "\ufeff[server]\r\nport = 7\r\n").server.port == 7


def test_a_command_may_be_text_or_a_list(home: Path) -> None:
    providers = load(home, '[providers.a]\nkind="claude_cli"\ncommand="claude"').providers
    assert providers["a"].command == ("claude",)

    providers = load(home, '[providers.a]\nkind="claude_cli"\ncommand=["claude", "-x"]').providers
    assert providers["a"].command == ("claude", "-x")


# ---- what the machine has

FOUND: dict[str, tuple[str, str, Any, dict[str, str]]] = {
    "Cline's secrets": ("oca", ".cline/data/secrets.json", {"ocaApiKey": "x"}, {}),
    "Cline's newer file": ("oca", ".cline/data/settings/providers.json", {"providers": {"oca": {"settings": {}}}}, {}),
    "OCA login": ("oca", ".oca/refresh_token.json", {"refresh_token": "x"}, {}),
    "OCA token text": ("oca", ".oca/token", "abc", {}),
    "Claude login": ("anthropic", ".claude/.credentials.json", {}, {}),
    "Claude login without the dot": ("anthropic", ".claude/credentials.json", {}, {}),
}


@pytest.mark.parametrize(("provider", "path", "content", "environ"), FOUND.values(), ids=FOUND)
def test_a_login_of_another_program_is_found(
    home: Path, provider: str, path: str, content: Any, environ: dict[str, str]
) -> None:
    file = put(home / path, content)

    settings = load(home, **environ)

    table = settings.providers[provider]
    # A file named for OCA would be written by the next login, whoever owns it.
    named = None if provider == "oca" else str(file)
    assert (table.token_file, table.credentials_file) == (None, named)
    assert [(each.provider, each.where) for each in settings.found] == [(provider, f"~/{path}")]


@pytest.mark.parametrize(
    ("variable", "provider", "key"),
    [
        ("ANTHROPIC_API_KEY", "anthropic", "api_key"),
        ("CLAUDE_ACCESS_TOKEN", "anthropic", "access_token"),
        ("CLAUDE_CODE_OAUTH_TOKEN", "anthropic", "access_token"),
        ("OPENAI_API_KEY", "openai", "api_key"),
        ("OCA_ACCESS_TOKEN", "oca", "access_token"),
    ],
)
def test_a_credential_in_the_environment_is_found(home: Path, variable: str, provider: str, key: str) -> None:
    settings = load(home, **{variable: "sk-secret-one"})

    assert getattr(settings.providers[provider], key) == "sk-secret-one"
    assert settings.found[0].where == variable


@pytest.mark.parametrize(("variable", "provider"), [("CLAUDE_OAUTH_CREDS", "anthropic"), ("OCA_REFRESH_TOKEN", "oca")])
def test_a_login_in_the_environment_is_found_alone(home: Path, variable: str, provider: str) -> None:
    settings = load(home, **{variable: "sk-secret-one"})

    assert list(settings.providers) == [provider]
    assert settings.found[0].where == variable


def test_an_anthropic_key_wins_over_a_token_and_a_token_over_a_login_file(home: Path) -> None:
    put(home / ".claude" / ".credentials.json", {})

    both = load(home, ANTHROPIC_API_KEY="k", CLAUDE_ACCESS_TOKEN="t").providers["anthropic"]
    token = load(home, CLAUDE_ACCESS_TOKEN="t").providers["anthropic"]

    assert (both.api_key, both.access_token, both.credentials_file) == ("k", None, None)
    assert (token.access_token, token.credentials_file) == ("t", None)


def test_the_token_file_of_the_working_folder_comes_first(home: Path, working_folder: Path) -> None:
    put(home / ".cline" / "data" / "secrets.json", {"ocaApiKey": "x"})
    here = put(working_folder / "secrets.json", {"access_token": "x"})

    assert load(home).providers["oca"].token_file == str(here)


def test_our_own_oca_login_comes_before_those_of_cline(home: Path) -> None:
    put(home / ".cline" / "data" / "secrets.json", {"ocaApiKey": "x"})
    put(home / ".oca" / "refresh_token.json", {"refresh_token": "x"})

    settings = load(home)

    assert settings.found[0].where == "~/.oca/refresh_token.json"


def test_a_file_with_other_providers_keys_only_is_not_taken_for_an_oca_login(home: Path) -> None:
    put(home / ".cline" / "data" / "secrets.json", {"openRouterApiKey": "x"})

    assert "oca" not in load(home).providers


def test_nothing_is_looked_for_once_a_provider_is_configured(home: Path) -> None:
    settings = load(home, "[providers.demo]", OPENAI_API_KEY="k")

    assert set(settings.providers) == {"demo"}
    assert settings.found == ()


def test_oca_alone_serves_every_name_as_its_users_know_it(home: Path) -> None:
    put(home / ".oca" / "token", "abc")

    models = load(home).models

    assert (models.default, models.small, models.big) == (
        "oca/gpt-4.1",
        "oca/grok-code-fast-1",
        "oca/grok-code-fast-1",
    )


def test_claude_names_stay_with_anthropic_where_it_is_found_too(home: Path) -> None:
    put(home / ".oca" / "token", "abc")

    models = load(home, ANTHROPIC_API_KEY="k").models

    assert (models.default, models.small, models.big) == ("oca/gpt-4.1", None, None)


def test_a_codex_login_is_named_but_used_only_when_configured(home: Path) -> None:
    put(home / ".codex" / "auth.json", {})

    settings = load(home)

    assert [(each.provider, each.used) for each in settings.found] == [("codex", False)]
    assert "codex" not in settings.providers


# ---- what oca-proxy left

OCA_PROXY = {
    "model_mapping": {"gpt-4": "oca/gpt-4.1", "claude-3-opus": {"target": "openai-o3", "reasoning_effort": "high"}},
    "default_model": "gpt-5",
    "default_reasoning_effort": "medium",
    "base_url": "http://127.0.0.1:1/oca",
    "idcs_url": "http://127.0.0.1:2",
    "log_level": "WARNING",
    "port": 8669,
}


@pytest.mark.parametrize("path", [".config/oca/oca-proxy.config.json", ".oca/oca-proxy-config.json"])
def test_the_configuration_of_oca_proxy_is_taken_over(home: Path, path: str) -> None:
    put(home / ".oca" / "token", "abc")
    put(home / path, OCA_PROXY)

    settings = load(home)

    oca = settings.providers["oca"]
    assert (oca.base_url, oca.idcs_url, oca.reasoning_effort) == (
        "http://127.0.0.1:1/oca",
        "http://127.0.0.1:2",
        "medium",
    )
    assert settings.models.default == "oca/gpt-5"
    assert settings.models.routes["gpt-4"].targets == ("oca/gpt-4.1",)
    assert settings.models.routes["claude-3-opus"].targets == ("oca/openai-o3",)
    assert settings.models.routes["claude-3-opus"].reasoning_effort == "high"
    assert (settings.server.log_level, settings.server.port) == ("warn", 8669)


def test_the_port_variable_wins_over_the_port_of_oca_proxy(home: Path) -> None:
    put(home / ".oca" / "token", "abc")
    put(home / ".config" / "oca" / "oca-proxy.config.json", OCA_PROXY)

    assert load(home, PORT="7").server.port == 7


# ---- secrets

FULL_OF_SECRETS = """
[server]
api_keys = ["sk-secret-one"]
proxies = { https = "http://me:hunter2@proxy.example" }
[providers.openai]
api_key = "sk-secret-two"
access_token = "tok-secret-three"
headers = { authorization = "hdr-secret-four" }
base_url = "http://me:hunter2@127.0.0.1/v1"
[ledger]
url = "postgresql://me:hunter2@db.example/x"
"""


@pytest.mark.parametrize("secret", SECRETS)
def test_no_repr_and_no_listing_tells_a_secret(home: Path, secret: str) -> None:
    settings = load(home, FULL_OF_SECRETS)
    shown = [repr(settings), repr(settings.server), repr(settings.providers), str(settings), f"{masked(settings)}"]

    assert [text for text in shown if secret in text] == []


def test_what_is_no_secret_stays_readable(home: Path) -> None:
    shown = masked(load(home, FULL_OF_SECRETS))

    assert shown["server"]["port"] == 8080
    assert shown["ledger"]["url"] == "postgresql://***@db.example/x"
    assert shown["providers"]["openai"]["headers"] == {"authorization": "***"}


# ---- a file that says what is in force

MACHINES: dict[str, tuple[dict[str, str], dict[str, Any]]] = {
    "nothing": ({}, {}),
    "a key": ({"ANTHROPIC_API_KEY": "sk-secret-one"}, {}),
    "two keys": ({"ANTHROPIC_API_KEY": "sk-secret-one", "OPENAI_API_KEY": "sk-secret-two"}, {}),
    "OCA with an address": ({"OCA_TOKEN": "tok-secret-three", "OCA_BASE_URL": "http://127.0.0.1:1/x"}, {}),
    "OCA's file": ({}, {".cline/data/secrets.json": {"ocaApiKey": "x"}}),
    "Claude's login": ({}, {".claude/.credentials.json": {}}),
    "Claude's login in a variable": ({"CLAUDE_OAUTH_CREDS": "{}"}, {}),
    "oca-proxy": ({}, {".oca/token": "abc", ".config/oca/oca-proxy.config.json": OCA_PROXY}),
    "a client key": ({"PROXY_API_KEY": "sk-secret-one", "OPENAI_API_KEY": "sk-secret-two"}, {}),
}


@pytest.mark.parametrize(("environ", "files"), MACHINES.values(), ids=MACHINES)
def test_a_written_file_changes_nothing_and_holds_no_secret(
    home: Path, environ: dict[str, str], files: dict[str, Any]
) -> None:
    for path, content in files.items():
        put(home / path, content)
    before = load(home, **environ)

    text = write_settings(before, environ, home)

    after = load(home, text, **environ)
    assert (after.server, after.providers, after.models) == (before.server, before.providers, before.models)
    assert [secret for secret in SECRETS if secret in text] == []


def test_a_written_file_keeps_what_another_file_says(home: Path) -> None:
    file = """
[server]
api_keys = ["$${literal"]
proxies = { https = "http://proxy:1" }
[providers."my.box"]
kind = "openai"
base_url = "http://127.0.0.1:9/v1"
headers = { "x-a" = "b" }
[models]
presets = ["openai-to-claude"]
default = "fast"
[models.routes]
fast = ["my.box/a", "my.box/b"]
"think*" = { target = "my.box/a", reasoning_effort = "high", strict = true }
[ledger]
ttl_days = 3
"""
    before = load(home, file)

    after = load(home, write_settings(before, {}, home))

    assert (after.server, after.providers, after.models, after.ledger) == (
        before.server,
        before.providers,
        before.models,
        before.ledger,
    )


def test_a_setting_is_read_under_its_old_name_too(tmp_path: Path) -> None:
    file = tmp_path / "dragoman.toml"
    file.write_text('[server]\nearly_head = 3.5\n[providers.p]\nkind = "openai"\nbase_url = "http://127.0.0.1:1/v1"\n')

    settings = load_settings(file, {}, {})

    assert settings.server.stream_start_timeout == 3.5


@pytest.mark.parametrize(
    ("links", "found"),
    [
        (
            ["Issues, https://git.example/issues", "Documentation, https://git.example/docs"],
            "https://git.example/docs/x.md",
        ),
        (["Issues, https://git.example/issues"], "docs/x.md"),
        ([], "docs/x.md"),
    ],
    ids=["a release", "without documentation", "a checkout"],
)
def test_a_document_is_found_where_the_installed_package_says(
    links: list[str], found: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    told = Message()
    for link in links:
        told["Project-URL"] = link
    monkeypatch.setattr(metadata, "metadata", lambda name: told)

    assert find_document("x.md") == found


OLD_FILE = """
[server]
port = 8080
[providers.local]
base_url = "http://ana:first-password@127.0.0.1/v1"
api_key = "first-key-0123"
headers = { x-team = "team-secret-1" }
command = ["helper", "--token", "cli-secret"]
[models.routes]
"gpt*" = "local/m"
"""
NEW_FILE = (
    OLD_FILE.replace("8080", "9000")
    .replace("first-", "second-")
    .replace('"local/m"', '"local/n"')
    .replace("team-secret-1", "team-secret-2")
    .replace("cli-secret", "cli-other")
)


def test_two_files_are_compared_by_settings_and_without_secrets() -> None:
    lines = compare_files(OLD_FILE, NEW_FILE + '[keys.ana]\nkye = "dm-misspelt"\nrole = "admin"\n')

    assert [line for line in lines if "port" in line] == ["- server.port = 8080", "+ server.port = 9000"]
    assert '+ models.routes."gpt*" = "local/n"' in lines
    assert '+ keys.ana.role = "admin"' in lines
    assert '+ keys.ana.kye = "***"' in lines
    assert len([line for line in lines if "api_key" in line]) == 2
    assert [word for word in ("first-", "second-", "secret", "other", "misspelt") if word in "".join(lines)] == []
    assert compare_files(OLD_FILE, "[server") == []
