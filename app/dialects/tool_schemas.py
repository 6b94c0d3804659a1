"""Cleans up tool schemas as real programs send them."""

from __future__ import annotations

import re
from collections.abc import Sequence, Sized

import msgspec

from app.conversation.capabilities import Capabilities
from app.conversation.request import FunctionTool, Tool
from app.conversation.schemas import without_nulls
from app.dialects.json_bodies import holds_null

# Styles in which a schema never stays as the client wrote it.
SUBSETS = ("gemini", "plain")
# Keywords that may not be null: vendors reject the whole tool.
_NULL_KEYWORD = re.compile(
    rb'"(?:required|properties|items|type|enum|description|additionalProperties|anyOf|oneOf|allOf|title|format|pattern)"'
    rb"\s*+:\s*+null"
)


def holds_null_keyword(raw: msgspec.Raw) -> bool:
    """Whether raw tools contain a keyword that is null where vendors accept no null."""
    return _NULL_KEYWORD.search(memoryview(raw)) is not None


def is_above_limit(tools: Sized, capabilities: Capabilities) -> bool:
    """Whether there are more tools than the upstream accepts."""
    return capabilities.tools_limit is not None and len(tools) > capabilities.tools_limit


def mend_schemas(tools: Sequence[Tool], raw: msgspec.Raw | None) -> tuple[Tool, ...]:
    """The tools without null keywords in their schemas; `raw` is the field that contained them."""
    if raw is None or not holds_null(raw):
        return tuple(tools)
    return tuple(
        msgspec.structs.replace(tool, schema=without_nulls(tool.schema))
        if isinstance(tool, FunctionTool) and tool.schema is not None
        else tool
        for tool in tools
    )
