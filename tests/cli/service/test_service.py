"""`dragoman service`: the files are as systemd and launchd want them, and go again."""

from __future__ import annotations

import plistlib
import shutil
import subprocess
from pathlib import Path

import pytest

from app.cli.service.service import write_plist, write_unit
from tests.cli.machine import Machine

UNIT = Path(".config/systemd/user/dragoman.service")


def test_a_service_is_installed_with_its_configuration_and_removed(machine: Machine) -> None:
    config = machine.write("dragoman.toml", "[providers.demo]\n")

    installed = machine.run("service", "install", "--no-start")

    text = (machine.home / UNIT).read_text()
    assert installed.exit_code == 0, installed.output
    assert f'Environment="DRAGOMAN_CONFIG={config}"' in text
    assert machine.run("service", "uninstall").exit_code == 0
    assert not (machine.home / UNIT).exists()


def test_what_serve_would_refuse_is_not_installed(machine: Machine) -> None:
    machine.write("dragoman.toml", "[server]\nprot = 1\n")

    assert machine.run("service", "install", "--no-start").exit_code == 1
    assert not (machine.home / UNIT).exists()


def test_without_a_service_the_way_to_one_is_told(machine: Machine) -> None:
    result = machine.run("service", "status")

    assert result.exit_code == 1
    assert "dragoman service install" in result.output


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="there is no systemd-analyze")
def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    file = tmp_path / "dragoman.service"
    file.write_text(write_unit(["/bin/sh", "-c", 'echo "100%" $HOME'], {"DRAGOMAN_CONFIG": "/a folder/50%.toml"}))

    done = subprocess.run(
        ["systemd-analyze", "verify", "--user", str(file)], capture_output=True, text=True, timeout=30
    )

    assert "dragoman.service" not in done.stderr, done.stderr


def test_launchd_gets_a_property_list() -> None:
    text = write_plist(["/usr/bin/python3", "-c", "a < b"], {"DRAGOMAN_CONFIG": "/x & y"}, Path("/log"))

    settings = plistlib.loads(text.encode())

    assert settings["ProgramArguments"] == ["/usr/bin/python3", "-c", "a < b"]
    assert settings["EnvironmentVariables"] == {"DRAGOMAN_CONFIG": "/x & y"}
