"""What mkdocs does beside its own work: the site shows the repository's own documents, wherever they lie in it.

Documents link to each other as files, so that they read well in the repository too. Here a link to a document becomes
one to its page, and a link to a recipe in deploy/ one to its text; of anything else the path is shown. Pages that the
navigation does not name are put under Explanation, so that none is lost.
"""

from __future__ import annotations

import functools
import os
import posixpath
import re
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).parents[2]
# Documents outside docs/, and their pages.
OUTSIDE = {
    **{name: f"project/{name}" for name in ("CHANGELOG.md", "CONTRIBUTING.md", "SUPPORT.md", "SECURITY.md")},
    "bench/README.md": "project/bench.md",
    "README.md": "index.md",
}
SHIM = "assets/iframe-worker.js"
FOLDERS = {"docs/decisions": "decisions/index.md"}

_LINK = re.compile(r"(!?)\[([^\]]{1,300})\]\(([^)\s:#]{1,300})(#[^)\s]{1,200})?\)")
_HEADING = re.compile(r"^# (.{1,200})$", re.MULTILINE)


def on_files(files: Files, config: MkDocsConfig, **_: Any) -> Files:
    for source, page in OUTSIDE.items():
        files.append(File.generated(config, page, content=(ROOT / source).read_text()))
    files.append(File.generated(config, "decisions/index.md", content=_list_decisions()))
    for recipe in find_recipes():
        files.append(File.generated(config, f"{recipe}.txt", content=(ROOT / recipe).read_text()))
    files.append(File.generated(config, SHIM, content=(Path(__file__).parent / "iframe-worker.js").read_text()))
    named = set(_find_pages(config.nav))
    for section in config.nav or []:
        if "Explanation" in section:
            rest = sorted(file.src_uri for file in files.documentation_pages() if file.src_uri not in named)
            section["Explanation"] += [name for name in rest if not name.startswith("decisions/")]
    return files


def on_page_markdown(markdown: str, page: Page, **_: Any) -> str:
    sources = {shown: source for source, shown in OUTSIDE.items()}
    source = sources.get(page.file.src_uri, f"docs/{page.file.src_uri}")
    return _LINK.sub(lambda link: _lead(link, source, page.file.src_uri), markdown)


def _lead(link: re.Match[str], source: str, here: str) -> str:
    mark, text, target, anchor = link[1], link[2], link[3], link[4] or ""
    wanted = posixpath.normpath(posixpath.join(posixpath.dirname(source), target))
    shown = OUTSIDE.get(wanted) or FOLDERS.get(wanted)
    if shown is None and wanted.startswith("docs/") and (ROOT / wanted).is_file():
        shown = wanted.removeprefix("docs/")
    if shown is None and wanted in find_recipes():
        shown = f"{wanted}.txt"
    if shown is None:
        # mkdocs tells of links that lead to nothing at all.
        return (f"`{wanted}`" if text == wanted else f"{text} (`{wanted}`)") if (ROOT / wanted).exists() else link[0]
    return f"{mark}[{text}]({os.path.relpath(shown, posixpath.dirname(here) or '.')}{anchor})"


@functools.cache
def find_recipes() -> frozenset[str]:
    """The files of deploy/ that documents link to, as paths in the repository."""
    documents = [*(ROOT / name for name in OUTSIDE), *(ROOT / "docs").rglob("*.md")]
    linked = {
        (document.parent / target).resolve()
        for document in documents
        for _, _, target, _ in _LINK.findall(document.read_text())
        if "deploy/" in target
    }
    return frozenset(str(path.relative_to(ROOT)) for path in linked if path.is_file())


def _list_decisions() -> str:
    rows = []
    for path in sorted((ROOT / "docs" / "decisions").glob("*.md")):
        heading = _HEADING.search(path.read_text())
        rows.append(f"- [{heading[1] if heading else path.stem}]({path.name})")
    return "# Decisions\n\nWhat was chosen, and its price.\n\n" + "\n".join(rows) + "\n"


def _find_pages(nav: Any) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    return [page for each in (nav.values() if isinstance(nav, dict) else nav or []) for page in _find_pages(each)]
