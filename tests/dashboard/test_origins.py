"""Where a setting comes from, as the page of settings tells it."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.dashboard.configuration.origins import DEFAULT, DERIVED, OPTION
from app.dashboard.pages.settings import describe_settings
from app.settings import load_settings
from app.settings.loading import HANDED_ON

FILE = """\
[server]
log_level = "warn"
port = 8000

[providers.local]
kind = "ollama"
models = ["m"]

[models.routes]
"a b" = "local/m"
"""


@pytest.mark.parametrize(
    ("table", "name", "origin"),
    [
        ("server", "log_level", "dragoman.toml:2"),
        ("server", "port", OPTION),
        ("server", "max_body_mb", "$DRAGOMAN__SERVER__MAX_BODY_MB"),
        ("server", "host", "$HOST"),
        ("server", "workers", DEFAULT),
        ("server", "proxies", "$https_proxy"),
        ("providers.local", "kind", "dragoman.toml:6"),
        ("providers.local", "profile", DERIVED),
        ("models", "routes", "dragoman.toml:10"),
    ],
)
def test_each_setting_tells_where_it_comes_from(tmp_path: Path, table: str, name: str, origin: str) -> None:
    file = tmp_path / "dragoman.toml"
    file.write_text(FILE)
    environ = {
        "HOME": str(tmp_path),
        "HOST": "127.0.0.2",
        "https_proxy": "http://127.0.0.1:3128",
        "DRAGOMAN__SERVER__MAX_BODY_MB": "7",
        HANDED_ON: '{"server": {"port": 9000}, "models": {}}',
    }

    told = describe_settings(load_settings(file, environ, {}), environ)

    assert [row.origin for row in told[table] if row.name == name] == [origin]
