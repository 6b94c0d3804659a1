"""Whatever place the documents name exists, and the picture of the rooms shows all of them."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT

DOCUMENTS = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", ROOT / "CHANGELOG.md", *sorted(ROOT.glob("docs/**/*.md"))]
ARCHITECTURE = ROOT / "docs" / "architecture.md"
TOP = sorted(
    f"{path.name}/" if path.is_dir() else path.name
    for path in (ROOT / "app").iterdir()
    if path.suffix == ".py" or (path / "__init__.py").is_file()
)

_LINK = re.compile(r"\]\(([^)#:]+)[)#]")
_ANCHOR = re.compile(r"\]\(([^):]*)#([^)]+)\)")
_PATH = re.compile(r"`((?:app|tests|docs|deploy|bench)/[\w./-]*)`")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


def anchors(document: Path) -> set[str]:
    """The headings of a document as links name them."""
    headings = _HEADING.findall(document.read_text())
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_each_link_leads_to_a_file(document: Path) -> None:
    for target in _LINK.findall(document.read_text()):
        assert (document.parent / target).exists(), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_each_link_to_a_heading_finds_it(document: Path) -> None:
    for target, heading in _ANCHOR.findall(document.read_text()):
        assert heading in anchors(document.parent / target if target else document), f"{target}#{heading}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=name)
def test_each_path_that_is_named_exists(document: Path) -> None:
    for path in _PATH.findall(document.read_text()):
        assert (ROOT / path).exists(), path


@pytest.mark.parametrize("entry", TOP)
def test_each_room_and_module_is_in_the_picture_and_each_room_in_the_table(entry: str) -> None:
    text = ARCHITECTURE.read_text()

    (services, _) = re.findall(r"^```\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)

    assert re.search(rf"(?<![\w/]){re.escape(entry)}", services)
    assert not entry.endswith("/") or f"| `app/{entry}` |" in text


def test_each_module_to_begin_with_is_in_its_room() -> None:
    rows = re.findall(r"^\| `(app/\w+/)` \| .+ \| (.+) \|$", ARCHITECTURE.read_text(), re.MULTILINE)

    assert len(rows) == sum(entry.endswith("/") for entry in TOP)
    for room, begin in rows:
        for module in re.findall(r"`(\w+\.py)`", begin):
            assert (ROOT / room / module).exists(), room + module
