"""The programs of others that pages load: the very files that their makers published, and few bytes."""

from __future__ import annotations

import gzip
import hashlib
import json

from app.dashboard.rendering import FOLDER

VENDOR = FOLDER / "vendor"
MAX_BYTES = 60 * 1024


def test_vendored_files_are_those_that_are_listed() -> None:
    listed = json.loads((VENDOR / "vendored.json").read_text())

    assert sorted(row["file"] for row in listed) == sorted(
        path.name for path in VENDOR.iterdir() if path.suffix in (".js", ".css")
    )
    for row in listed:
        assert hashlib.sha256((VENDOR / row["file"]).read_bytes()).hexdigest() == row["sha256"], row["file"]
        assert all(row[name] for name in ("package", "version", "licence", "path"))


def test_all_that_a_page_may_load_is_small() -> None:
    files = [path for path in FOLDER.rglob("*") if path.suffix in (".js", ".css", ".svg")]

    assert sum(len(gzip.compress(path.read_bytes())) for path in files) <= MAX_BYTES
