"""What a user who needs help is told is so: forms, commands, versions, and how release notes are made."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from app.cli.group import COMMANDS
from tests.docs.blocks import ROOT

FORMS = sorted(path for path in (ROOT / ".github" / "ISSUE_TEMPLATE").glob("*.yml") if path.name != "config.yml")
SUPPORT = (ROOT / "SUPPORT.md").read_text()
# As GitHub has them.
KINDS = {"markdown", "textarea", "input", "dropdown", "checkboxes"}


@pytest.mark.parametrize("form", FORMS, ids=lambda path: path.stem)
def test_a_form_asks_each_thing_once_and_for_something_that_there_is(form: Path) -> None:
    told: dict[str, Any] = yaml.safe_load(form.read_text())

    ids = [field["id"] for field in told["body"] if field["type"] != "markdown"]
    assert {"name", "description", "body"} <= told.keys()
    assert len(ids) == len(set(ids))
    assert {field["type"] for field in told["body"]} <= KINDS
    assert all(field["attributes"]["label"] for field in told["body"] if field["type"] != "markdown")
    assert set(re.findall(r"`dragoman (\w+)", form.read_text())) <= set(COMMANDS)


def test_the_commands_that_support_names_exist() -> None:
    assert set(re.findall(r"`dragoman (\w+)", SUPPORT)) <= set(COMMANDS)
    for target in re.findall(r"`make (\w+)", SUPPORT):
        subprocess.run(["make", "-n", target], cwd=ROOT, check=True, capture_output=True)


def test_the_pythons_that_support_names_are_those_of_the_package() -> None:
    (row,) = re.findall(r"^\| Python \|.*$", SUPPORT, re.MULTILINE)

    declared = set(re.findall(r"Python :: (3\.\d+)$", (ROOT / "setup.cfg").read_text(), re.MULTILINE))
    assert set(re.findall(r"3\.\d+", row)) == declared


def test_release_notes_become_a_section_of_the_changelog(tmp_path: Path) -> None:
    for name in ("CHANGELOG.md", "setup.cfg"):
        shutil.copy2(ROOT / name, tmp_path)
    shutil.copytree(ROOT / "docs" / "changes", tmp_path / "docs" / "changes")
    for kind, text in (("added", "A new thing.\n"), ("fixed", "An old thing.\n")):
        (tmp_path / "docs" / "changes" / f"+thing.{kind}.md").write_text(text)
    config = tmp_path / "docs" / "changes" / "towncrier.toml"

    command = ("build", "--config", config, "--dir", tmp_path, "--yes", "--version", "9.9.9", "--date", "2027-01-01")
    subprocess.run([sys.executable, "-m", "towncrier", *command], cwd=tmp_path, check=True, capture_output=True)

    changelog = (tmp_path / "CHANGELOG.md").read_text()
    assert "## 9.9.9 (2027-01-01)\n\n### Added\n\n- A new thing.\n\n### Fixed\n\n- An old thing.\n" in changelog
    assert changelog.index("## 9.9.9") < changelog.index("The first version.")
    assert not list((tmp_path / "docs" / "changes").glob("+*"))
