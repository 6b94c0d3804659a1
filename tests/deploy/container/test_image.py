"""The image serves without any right, as whichever user it is started, and stops when it is told."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from app.blueprints.operations.tested_clients import find_tested
from tests.deploy.container.conftest import Image, build

KEY = "a-key-of-sixteen"
ENVIRON = {"PROXY_API_KEY": KEY, "DRAGOMAN_DEMO": "1"}
CONFIG = '[server]\ndemo = true\napi_keys = ["${PROXY_API_KEY}"]\n'
ASK = f"""
import json, urllib.request
body = {{"model": "demo/demo", "max_tokens": 50, "messages": [{{"role": "user", "content": "Hello"}}]}}
headers = {{"content-type": "application/json", "x-api-key": "{KEY}"}}
asked = urllib.request.Request("http://127.0.0.1:8080/v1/messages", json.dumps(body).encode(), headers)
print(json.load(urllib.request.urlopen(asked, timeout=20))["content"][-1]["text"])
"""


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """A volume: empty, and of whoever the image made it for."""
    tmp_path.chmod(0o755)
    for parent in tmp_path.parents[:3]:
        parent.chmod(0o755)
    folder = tmp_path / "data"
    folder.mkdir()
    folder.chmod(0o1777)
    return folder


@pytest.fixture
def settings(image: Image) -> None:
    (image.root / "config" / "config.toml").write_text(CONFIG)
    (image.root / "config" / "config.toml").chmod(0o644)


def test_the_image_says_who_it_is_how_it_stops_and_how_it_is(image: Image) -> None:
    assert image.config["User"] == "10001:10001"
    assert image.config["StopSignal"] == "SIGTERM"
    assert image.config["Healthcheck"]["Test"][0] == "CMD"
    assert image.config["Volumes"] == {"/data": {}}
    assert image.config["ExposedPorts"] == {"8080/tcp": {}}
    assert image.config["Labels"]["org.opencontainers.image.licenses"] == "MIT"


def test_the_image_holds_no_cache_and_no_source(image: Image) -> None:
    left = [str(path.relative_to(image.root)) for path in image.root.glob("root/.[!b]*") if path.name != ".profile"]

    assert not (image.root / "source").exists()
    assert [name for name in left if "cache" in name] == []


@pytest.mark.usefixtures("settings")
@pytest.mark.parametrize("user", [None, "54321:0", "1000:1000"], ids=["its own user", "any user", "a user of the host"])
def test_it_serves_from_a_root_that_it_cannot_write_to(image: Image, data: Path, user: str | None) -> None:
    with image.start(data, user=user, environ=ENVIRON) as running:
        running.wait_until_healthy()

        assert running.user() == int((user or "10001:").split(":")[0])
        assert "Hello" in running.run("python", "-c", ASK).stdout
        assert "Read-only" in running.run("touch", "/opt/dragoman/x").stderr
        assert running.stop() == 0


@pytest.mark.usefixtures("settings")
def test_started_as_root_it_becomes_the_user_that_the_host_wants(image: Image, data: Path) -> None:
    (data / "earlier").write_text("of root")

    with image.start(data, user="0:0", environ=ENVIRON | {"PUID": "1234", "PGID": "2345"}) as running:
        running.wait_until_healthy()

        assert running.user() == 1234
        status = Path(f"/proc/{running.pid}/status").read_text()
        assert "CapEff:\t0000000000000000" in status
        assert "CapBnd:\t0000000000000000" in status
        owners = {(path.stat().st_uid, path.stat().st_gid) for path in (data, *data.rglob("*"))}
        assert owners == {(1234, 2345)}
        assert running.stop() == 0


@pytest.mark.parametrize("puid", ["0", "root", "", "12:13"])
def test_a_user_that_is_none_or_root_is_refused(image: Image, data: Path, puid: str) -> None:
    with image.start(data, user="0:0", environ=ENVIRON | {"PUID": puid or " "}) as running:
        assert running.process.wait(20) == 64

    assert "PUID" in running.log.read_text()


def test_without_a_key_it_does_not_listen_to_the_world(image: Image, data: Path) -> None:
    (image.root / "config" / "config.toml").unlink(missing_ok=True)

    with image.start(data) as running:
        assert running.process.wait(30) not in (0, None)

    assert "api_keys" in running.log.read_text()


@pytest.mark.usefixtures("settings")
def test_the_health_check_fails_where_nothing_serves(image: Image, data: Path) -> None:
    with image.start(data, environ=ENVIRON | {"PORT": "8081"}) as running:
        running.wait_until_healthy()
        check = image.config["Healthcheck"]["Test"][1:]

        assert running.run("env", "PORT=8082", *check).returncode != 0


def test_the_stage_with_claude_has_the_version_that_is_tested(base: str) -> None:
    if shutil.which("npm") is None:
        pytest.skip("the stand-in for the image of Node takes it from this machine, which has no npm")
    image = build(base, "with-claude")
    assert image.root.joinpath("usr/local/bin/claude").exists()

    with image.start(Path("/tmp"), words="version") as running:
        running.process.wait(30)
    said = running.log.read_text()
    assert "dragoman" in said
    assert find_tested("claude").version in _run_claude(image)


def _run_claude(image: Image) -> str:
    from tests.deploy.container.conftest import run

    return run("chroot", image.root, "/usr/bin/setpriv", "--reuid=10001", "--clear-groups", "/usr/local/bin/claude",
               "--version")  # fmt: skip
