"""Runs the black-box suite that lies beside the checkout against this gateway.

    python tests/conformance.py            run it and print its table
    python tests/conformance.py --check    fail when an id of conformance_passing.txt no longer passes
    python tests/conformance.py --update   write the ids that pass into that file

The suite keeps a part of its ids apart ("held"), to see what a gateway does that was not built for it; those are in
its table, and never in our list.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
SUITE = Path(os.environ.get("CONFORMANCE_SUITE", ROOT.parent / "shared" / "conformance"))
WORK = ROOT / ".cache" / "conformance"
LISTED = Path(__file__).with_name("conformance_passing.txt")


def main() -> int:
    parser = argparse.ArgumentParser(description="Run the black-box suite against this gateway.")
    parser.add_argument("--check", action="store_true", help="fail when a listed id does not pass")
    parser.add_argument("--update", action="store_true", help="list the ids that pass now")
    options = parser.parse_args()
    if not SUITE.is_dir():
        print(f"conformance: skipped, there is no suite at {os.path.relpath(SUITE, ROOT)}")
        return 0

    python = _prepare()
    rows = _run_all(python)
    passing = {name for name, row in rows.items() if row["status"] == "pass"}
    listed = set(LISTED.read_text().split()) if LISTED.is_file() else set()
    if options.update:
        LISTED.write_text("".join(f"{name}\n" for name in sorted(passing)))
        print(f"conformance: {len(passing)} ids listed")
        return 0
    if new := sorted(passing - listed):
        print(f"conformance: these pass and are not listed yet (--update lists them): {' '.join(new)}")
    if options.check and (broken := _find_broken(python, listed, rows)):
        print(f"conformance: these are listed and do not pass: {' '.join(sorted(broken))}")
        return 1
    print(f"conformance: {len(passing)} ids pass")
    return 0


def _prepare() -> Path:
    """Copy the suite, which may lie where nothing can be written, and give it an environment of its own."""
    suite, environment = WORK / "suite", WORK / "venv"
    shutil.rmtree(suite, ignore_errors=True)
    # Plain copies: the originals may be read-only, which a copy of their modes would be too.
    shutil.copytree(
        SUITE, suite, copy_function=shutil.copyfile, ignore=shutil.ignore_patterns("results", "__pycache__")
    )
    for folder in (suite, *(path for path in suite.rglob("*") if path.is_dir())):
        folder.chmod(0o755)
    python = environment / "bin" / "python"
    requirements = suite / "requirements.txt"
    stamp = environment / "installed.txt"
    if not stamp.is_file() or stamp.read_text() != requirements.read_text():
        venv.create(environment, with_pip=True, clear=True)
        subprocess.run([python, "-m", "pip", "install", "-q", "-r", requirements], check=True)
        shutil.copyfile(requirements, stamp)
    return python


def _run_all(python: Path) -> dict[str, Any]:
    """Run the whole suite by its own runner, which knows how vectors add up to ids; answer its rows of the open ids."""
    _report(python).check_returncode()
    results: dict[str, Any] = json.loads((WORK / "suite" / "results" / "ours.json").read_text())
    return {name: row for name, row in results["ids"].items() if not row["held"]}


def _find_broken(python: Path, listed: set[str], rows: dict[str, Any]) -> set[str]:
    """The listed ids that do not pass: not run or not supported, or failed twice.

    What fails is tried a second time, alone: many vectors measure time, on a machine that may be busy.
    """
    absent = {name for name in listed if rows.get(name, {}).get("status") not in ("pass", "fail")}
    failed = {name for name in listed - absent if rows[name]["status"] == "fail"}
    if not failed:
        return absent
    again = _report(python, "-k", " or ".join(sorted(failed)), "--why", capture=True)
    print(again.stdout, again.stderr)
    again.check_returncode()
    return absent | (failed & set(re.findall(r"^(FB-\d+)", again.stdout, re.MULTILINE)))


def _report(python: Path, *arguments: str, capture: bool = False) -> subprocess.CompletedProcess[str]:
    dragoman = Path(sys.executable).with_name("dragoman")
    environ = os.environ | {"DRAGOMAN_CMD": os.environ.get("DRAGOMAN_CMD", str(dragoman))}
    return subprocess.run(
        [python, "report.py", "ours", *arguments], cwd=WORK / "suite", env=environ, text=True, capture_output=capture
    )


if __name__ == "__main__":
    sys.exit(main())
