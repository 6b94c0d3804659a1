"""Where tests leave what a person wants to see afterwards: screenshots, reports."""

from __future__ import annotations

import os
import re
from pathlib import Path

ROOT = Path(__file__).parents[2]


def artifacts_folder(kind: str) -> Path:
    """The folder for one kind of artifact: below $ARTIFACTS_DIR, which CI keeps, or `artifacts` in the checkout."""
    folder = Path(os.environ.get("ARTIFACTS_DIR") or ROOT / "artifacts") / kind
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def name_of_test() -> str:
    """The current test, as a file's name."""
    test = os.environ.get("PYTEST_CURRENT_TEST", "unknown").rpartition(" ")[0].rpartition("/")[2]
    return re.sub(r"[^\w.-]+", "-", test).strip("-")[:150]
