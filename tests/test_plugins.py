"""What installed packages add is listed, and one that cannot be imported is named, not a traceback."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import CliRunner

from app import create_app
from app.cli.group import main
from app.errors import ConfigError
from app.settings import HooksSettings, KeySettings, ProviderSettings, ServerSettings, Settings

ENTRIES = """[dragoman.providers]
acme = acme_plugin:Acme
broken = acme_broken:Provider
[dragoman.hooks]
mask = acme_plugin:Mask
odd = acme_plugin:NotThere
"""


@pytest.fixture(autouse=True)
def installed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A package with four entry points, of which two cannot be imported."""
    folder = tmp_path / "site"
    info = folder / "acme_plugin-1.2.dist-info"
    info.mkdir(parents=True)
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: acme-plugin\nVersion: 1.2\n")
    (info / "entry_points.txt").write_text(ENTRIES)
    (folder / "acme_plugin.py").write_text(
        "from app.providers.kinds.demo import DemoProvider\n\n\n"
        "class Acme(DemoProvider):\n    kind = 'acme'\n\n\n"
        "class Mask:\n    def on_request(self, client_request):\n        return None\n"
    )
    (folder / "acme_broken.py").write_text("import a_module_that_nobody_has\n")
    monkeypatch.syspath_prepend(str(folder))
    yield folder
    for name in ("acme_plugin", "acme_broken"):
        sys.modules.pop(name, None)


def settings(**more: object) -> Settings:
    providers = {"ours": ProviderSettings(kind="acme", api_key="sk-of-the-acme-account")}
    return Settings(server=ServerSettings(), providers=providers, **more)  # type: ignore[arg-type]


def test_each_plugin_is_listed_with_its_package_its_use_and_its_health() -> None:
    client = create_app(settings(hooks=HooksSettings(off=("mask",)))).test_client()

    plugins = {each["name"]: each for each in client.get("/plugins").get_json()["plugins"]}

    assert {name: each["status"] for name, each in plugins.items() if each["package"] == "acme-plugin"} == {
        "acme": "healthy",
        "broken": "off",
        "mask": "off",
        "odd": "failed",
    }
    assert (plugins["acme"]["adds"], plugins["acme"]["version"], plugins["acme"]["used_by"]) == (
        "provider",
        "1.2",
        ["ours"],
    )
    assert "a_module_that_nobody_has" in plugins["broken"]["error"]
    assert "sk-of-the-acme-account" not in str(plugins)
    assert client.get("/plugins/odd/health").get_json()["status"] == "failed"
    assert client.get("/plugins/nobody/health").status_code == 404


def test_only_an_admin_sees_them() -> None:
    keys = {"admin": KeySettings(key="key-of-admin", role="admin"), "ana": KeySettings(key="key-of-ana-1")}
    client = create_app(settings(keys=keys)).test_client()

    answers = [
        client.get("/plugins", headers={"authorization": f"Bearer {key}"}).status_code
        for key in ("key-of-admin", "key-of-ana-1", "key-of-nobody")
    ]

    assert answers == [200, 403, 401]


def test_a_kind_that_cannot_be_imported_is_named_at_the_start() -> None:
    with pytest.raises(ConfigError, match=r"providers\.ours\.kind: the kind 'broken' of the package acme-plugin"):
        create_app(Settings(server=ServerSettings(), providers={"ours": ProviderSettings(kind="broken")}))


def test_the_command_lists_them_and_fails_for_one_that_cannot_be_imported(tmp_path: Path) -> None:
    config = tmp_path / "dragoman.toml"
    config.write_text('[providers.ours]\nkind = "acme"\n')

    done = CliRunner().invoke(main, ["plugins", "--config", str(config)])

    assert done.exit_code == 1
    assert "acme-plugin 1.2" in done.output
    assert "broken cannot be imported: ModuleNotFoundError" in done.output
    assert "Traceback" not in done.output
