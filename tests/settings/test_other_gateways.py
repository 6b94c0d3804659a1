"""Variables that users of other gateways have set already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.errors import ConfigError
from app.settings import Settings, load_settings
from app.settings.discovered.other_gateways import read_other_variables
from app.settings.writing import write_settings
from tests.docs.blocks import CONFIGURATION

PARTS = ("client_request", "client_response", "provider_request", "provider_response")
SETS: dict[str, tuple[dict[str, str], str, dict[str, Any]]] = {
    "the log level": ({"LOGGING__LEVEL": "DEBUG"}, "server", {"log_level": "debug"}),
    "a level with another name": ({"LOGGING__LEVEL": "Warning"}, "server", {"log_level": "warn"}),
    "the log file": ({"LOGGING__FILE": "/tmp/x.log"}, "server", {"log_file": "/tmp/x.log"}),
    "verbose API": ({"CCPROXY_VERBOSE_API": "true"}, "raw_log", {"enabled": True, "max_body_kb": 1}),
    "verbose API off": ({"CCPROXY_VERBOSE_API": "false"}, "raw_log", {"enabled": False, "max_body_kb": 1024}),
    "a folder for requests": (
        {"CCPROXY_REQUEST_LOG_DIR": "/tmp/requests"},
        "raw_log",
        {"enabled": True, "folder": "/tmp/requests"},
    ),
    "the old names": (
        {"CCPROXY_LOG_RAW_HTTP": "true", "CCPROXY_RAW_LOG_DIR": "/tmp/raw"},
        "raw_log",
        {"enabled": True, "folder": "/tmp/raw"},
    ),
    "a folder and no log": (
        {"CCPROXY_LOG_RAW_HTTP": "0", "CCPROXY_RAW_LOG_DIR": "/tmp/raw"},
        "raw_log",
        {"enabled": False, "folder": "/tmp/raw"},
    ),
    "the plugin": (
        {
            "PLUGINS__RAW_HTTP_LOGGER__ENABLED": "true",
            "PLUGINS__RAW_HTTP_LOGGER__LOG_DIR": "/tmp/raw",
            "PLUGINS__RAW_HTTP_LOGGER__MAX_BODY_SIZE": "10485760",
            "PLUGINS__RAW_HTTP_LOGGER__INCLUDE_PATHS": '["/api", "/claude"]',
            "PLUGINS__RAW_HTTP_LOGGER__EXCLUDE_PATHS": "/health, /metrics",
            "PLUGINS__RAW_HTTP_LOGGER__LOG_PROVIDER_REQUEST": "false",
        },
        "raw_log",
        {
            "enabled": True,
            "folder": "/tmp/raw",
            "max_body_kb": 10240,
            "include": ("/api", "/claude"),
            "exclude": ("/health", "/metrics"),
            "parts": ("client_request", "client_response", "provider_response"),
        },
    ),
    "the plugin as documents spell it": (
        {"PLUGINS__RAWHTTPLOGGERCONFIG__ENABLED": "true", "PLUGINS__RAWHTTPLOGGERCONFIG__LOG_DIR": "/tmp/raw"},
        "raw_log",
        {"enabled": True, "folder": "/tmp/raw", "parts": PARTS},
    ),
    "the push gateway": (
        {"PLUGINS__METRICS__PUSHGATEWAY_URL": "http://push:9091", "PLUGINS__METRICS__PUSHGATEWAY_JOB": "ccproxy"},
        "push",
        {"url": "http://push:9091", "job": "ccproxy"},
    ),
    "nothing": ({"CCPROXY_TRACE_CHUNKS": "true", "PLUGINS__METRICS__ENABLED": "true"}, "raw_log", {"enabled": False}),
}


def load(folder: Path, text: str, **environ: str) -> Settings:
    path = folder / "dragoman.toml"
    path.write_text(text or "[providers.ollama]\n")
    return load_settings(path, {"HOME": str(folder), **environ}, {})


@pytest.mark.parametrize("case", SETS)
def test_each_variable_sets_what_it_meant(tmp_path: Path, case: str) -> None:
    environ, section, expected = SETS[case]

    settings = load(tmp_path, "", **environ)

    table = getattr(settings, section)
    assert {name: getattr(table, name) for name in expected} == expected


def test_they_go_before_the_file_and_our_own_names_before_them(tmp_path: Path) -> None:
    text = '[providers.ollama]\n[server]\nlog_level = "error"\n'

    theirs = load(tmp_path, text, LOGGING__LEVEL="info")
    ours = load(tmp_path, text, LOGGING__LEVEL="info", LOG_LEVEL="debug")

    assert (theirs.server.log_level, ours.server.log_level) == ("info", "debug")


def test_the_key_that_guarded_the_other_gateway_guards_this_one(tmp_path: Path) -> None:
    theirs = load(tmp_path, "", SECURITY__AUTH_TOKEN="Bearer key-of-theirs")
    both = load(tmp_path, "", SECURITY__AUTH_TOKEN="key-of-theirs", PROXY_API_KEY="key-of-ours")

    assert (theirs.server.api_keys, both.server.api_keys) == (("key-of-theirs",), ("key-of-ours",))
    assert "key-of" not in write_settings(theirs, {"SECURITY__AUTH_TOKEN": "Bearer key-of-theirs"}, tmp_path)


WRONG = {
    "PLUGINS__RAW_HTTP_LOGGER__ENABLED": "perhaps",
    "PLUGINS__RAW_HTTP_LOGGER__MAX_BODY_SIZE": "-5",
    "PLUGINS__RAW_HTTP_LOGGER__INCLUDE_PATHS": "[1]",
    "PLUGINS__RAW_HTTP_LOGGER__EXCLUDE_PATHS": '["/a"',
    "CCPROXY_VERBOSE_API": "maybe",
}


@pytest.mark.parametrize("variable", WRONG)
def test_a_value_that_means_nothing_is_refused_by_the_name_of_its_variable(variable: str) -> None:
    with pytest.raises(ConfigError) as caught:
        read_other_variables({variable: WRONG[variable]})

    assert caught.value.key == variable


def test_every_variable_is_documented() -> None:
    text = CONFIGURATION.read_text().split("## Variables of other gateways\n", 1)[1].split("\n## ", 1)[0]

    for environ, _, _ in SETS.values():
        for variable in environ:
            if variable not in ("CCPROXY_TRACE_CHUNKS", "PLUGINS__METRICS__ENABLED"):
                name = variable.rsplit("__", 1)[1] if variable.startswith("PLUGINS__RAW") else variable
                assert f"`{name}`" in text, variable
