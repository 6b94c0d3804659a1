"""The site that `make docs` has built: every document is in it, and it needs no network."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path

import pytest

from tests.clients.chromium import DRIVER, PROGRAM, Chromium
from tests.docs.blocks import ROOT


@pytest.fixture(scope="module")
def site() -> Path:
    return ROOT / os.environ.get("SITE", ".cache/site")


def test_each_document_has_a_page(site: Path) -> None:
    documents = [path.relative_to(ROOT / "docs") for path in ROOT.glob("docs/**/*.md")]

    missing = [each for each in documents if not (site / each.with_suffix(".html")).is_file()]

    assert [each for each in missing if each.parts[0] != "changes"] == []
    assert (site / "openapi.json").is_file()


def test_each_document_is_in_the_navigation(site: Path) -> None:
    shown = (site / "index.html").read_text()

    for path in ROOT.glob("docs/**/*.md"):
        name = path.relative_to(ROOT / "docs").with_suffix(".html")
        if name.parts[0] not in ("changes", "decisions"):
            assert f'href="{name}"' in shown, name


def test_the_search_knows_the_documents_without_a_server(site: Path) -> None:
    index = json.loads((site / "search" / "search_index.json").read_text())

    places = {each["location"].partition("#")[0] for each in index["docs"]}
    assert {"configuration.html", "reference/commands.html", "tutorials/claude-code.html"} <= places
    # What a page that is no server's reads instead of the file above.
    assert (site / "search" / "search_index.js").is_file()


def test_a_page_loads_nothing_from_anywhere(site: Path) -> None:
    for page in site.rglob("*.html"):
        loaded = re.findall(r'<(?:script|img|link|iframe)\b[^>]*\b(?:src|href)="(https?:[^"]*)"', page.read_text())
        assert loaded == [], page.name


def test_each_recipe_that_a_document_links_to_can_be_read(site: Path) -> None:
    recipes = [
        (page, recipe)
        for page in site.rglob("*.html")
        for recipe in re.findall(r'href="([^"#]*deploy/[^"#]*)"', page.read_text())
    ]

    assert len({recipe for _, recipe in recipes}) >= 10
    for page, recipe in recipes:
        shown = (page.parent / recipe).resolve()
        assert shown.read_text() == (ROOT / shown.relative_to(site.resolve()).with_suffix("")).read_text()


def test_each_picture_is_there(site: Path) -> None:
    for page in site.rglob("*.html"):
        for picture in re.findall(r'<img\b[^>]*\bsrc="([^"]*)"', page.read_text()):
            assert (page.parent / picture).is_file(), f"{page.name}: {picture}"


def test_the_search_finds_in_pages_that_are_files(site: Path, tmp_path: Path) -> None:
    if PROGRAM is None or DRIVER is None:
        pytest.skip("Chromium and its driver are not on this machine")
    deadline = time.monotonic() + 60

    with Chromium(tmp_path) as browser:
        browser.open(f"file://{site}/index.html?q=breaker")
        while "matching" not in browser.text and time.monotonic() < deadline:
            time.sleep(0.2)

        assert "Upstreams in trouble" in browser.text
