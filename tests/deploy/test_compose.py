"""compose.yaml, as a program that carries it out reads it."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.settings import ServerSettings
from tests.docs.blocks import ROOT

DEPLOY = ROOT / "deploy"
PROFILES = {"gateway": [], "postgres": ["team"], "redis": ["team"], "prometheus": ["watch"], "grafana": ["watch"]}


@functools.cache
def resolve(**environ: str) -> dict[str, Any]:
    """The services by name, with the variables put in."""
    pytest.importorskip("podman_compose", reason="there is no podman-compose: pip install podman-compose")
    if shutil.which("podman") is None:
        pytest.skip("podman-compose asks for podman, which is not on this machine")
    profiles = ("--profile", "team", "--profile", "watch")
    done = subprocess.run(
        [sys.executable, "-m", "podman_compose", "-f", DEPLOY / "compose.yaml", *profiles, "config"],
        capture_output=True,
        text=True,
        env=os.environ | {"POSTGRES_PASSWORD": "secret-word", "PROXY_API_KEY": "key"} | environ,
    )
    assert done.returncode == 0, done.stderr
    services: dict[str, Any] = yaml.safe_load(done.stdout)["services"]
    return services


def test_each_service_is_there_and_belongs_to_its_profile() -> None:
    assert {name: service.get("profiles", []) for name, service in resolve().items()} == PROFILES


def test_the_gateway_runs_as_whom_the_host_wants() -> None:
    assert resolve()["gateway"]["user"] == "10001:10001"
    assert resolve(PUID="1000", PGID="100")["gateway"]["user"] == "1000:100"


def test_what_is_mounted_or_built_is_in_the_repository() -> None:
    services = resolve()

    build = services["gateway"]["build"]
    assert (Path(build["context"]) / build["dockerfile"]).is_file()
    files = [
        volume.split(":")[0]
        for name, service in services.items()
        if name != "gateway"
        for volume in service.get("volumes", [])
        if volume.startswith("./")
    ]
    assert len(files) >= 4
    assert all((DEPLOY / file).exists() for file in files)


def test_the_gateway_may_do_nothing_that_it_does_not_need() -> None:
    gateway = resolve()["gateway"]

    assert gateway["read_only"] is True
    assert gateway["cap_drop"] == ["ALL"]
    assert all(port.startswith("127.0.0.1:") for service in resolve().values() for port in service.get("ports", []))


def test_running_streams_may_finish() -> None:
    assert int(resolve()["gateway"]["stop_grace_period"].removesuffix("s")) > ServerSettings().graceful_timeout
