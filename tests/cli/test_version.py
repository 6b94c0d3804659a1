"""`dragoman version --tested` names what the tests of the genuine programs run, and nothing else."""

from __future__ import annotations

import json
from importlib import metadata

import pytest
from click.testing import CliRunner

from app.blueprints.operations.tested_clients import TESTED
from app.cli import main
from tests.clients import programs
from tests.replay.programs import PROGRAMS, Program
from tests.replay.recording import HERE


def test_each_program_that_the_tests_install_is_told_with_its_version() -> None:
    shown = CliRunner().invoke(main, ["version", "--tested"]).output

    pinned = (programs.CLAUDE_CODE, programs.CODEX, programs.OPENCODE, programs.OPENAI_AGENTS, programs.LITELLM)
    assert len(shown.splitlines()) == len(TESTED)
    assert all(package in shown for package in pinned)


@pytest.mark.parametrize("package", ["anthropic", "openai"])
def test_no_sdk_is_said_to_be_tested_that_is_newer_than_the_one_that_tests_import(package: str) -> None:
    told = [client["version"] for client in json.loads(_tested_as_json()) if client["package"] == package]
    installed = tuple(map(int, metadata.version(package).split(".")[:3]))

    assert told
    assert all(tuple(map(int, version.split("."))) <= installed for version in told)


@pytest.mark.parametrize("program", PROGRAMS.values(), ids=PROGRAMS)
def test_what_a_program_asked_is_recorded_with_the_version_that_is_said_to_be_tested(program: Program) -> None:
    assert (HERE / program.folder / "version").read_text() == f"{program.package} {program.version}\n"


def _tested_as_json() -> str:
    return CliRunner().invoke(main, ["version", "--tested", "--json"]).output
