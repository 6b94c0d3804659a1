"""The gateways whose configurations can be read."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from app.cli.importing.carried import Carried
from app.cli.importing.claude_code_router import read_router
from app.cli.importing.cliproxyapi import read_cliproxyapi
from app.cli.importing.litellm import read_litellm
from app.cli.importing.opencode import read_opencode

READERS: dict[str, Callable[[dict[str, Any]], Carried]] = {
    "litellm": read_litellm,
    "ccr": read_router,
    "cliproxyapi": read_cliproxyapi,
    "opencode": read_opencode,
}
