"""Where settings come from: one table of layers, each key in each layer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.errors import ConfigError
from app.settings import load_settings
from tests.settings.loading import load, put, refused


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
