"""Cleans up tool schemas as real programs send them."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence, Sized

import msgspec

from app.conversation.capabilities import Capabilities
from app.conversation.request import FunctionTool, Tool
from app.conversation.schemas import Schema, to_current_draft, without_nulls
from app.dialects.json_bodies import holds_null

# Styles in which a schema never stays as the client wrote it.
SUBSETS = ("gemini", "plain")
# Keywords that may not be null: vendors reject the whole tool.
_NULL_KEYWORD = re.compile(
    rb'"(?:required|properties|items|type|enum|description|additionalProperties|anyOf|oneOf|allOf|title|format|pattern)"'
    rb"\s*+:\s*+null"
)
# Values of older drafts and of other languages. A request that passes is not searched for them: if its vendor refuses
# them, it is translated.
_OLDER_VALUE = re.compile(
    rb'"(?:type"\s*+:\s*+"(?:[A-Z]|(?:dict|list|tuple|str|int|float|double|bool|none|any)")'
    rb'|required"\s*+:\s*+[tf"]|exclusiveM(?:in|ax)imum"\s*+:\s*+[tf]|(?:items|properties)"\s*+:\s*+\[)'
)


def holds_null_keyword(raw: msgspec.Raw) -> bool:
    """Whether raw tools contain a keyword that is null where vendors accept no null."""
    return _NULL_KEYWORD.search(memoryview(raw)) is not None


def is_above_limit(tools: Sized, capabilities: Capabilities) -> bool:
    """Whether there are more tools than the upstream accepts."""
    return capabilities.tools_limit is not None and len(tools) > capabilities.tools_limit


def mend_schemas(tools: Sequence[Tool], raw: msgspec.Raw | None) -> tuple[Tool, ...]:
    """The tools with schemas in the words of the current draft; `raw` is the field that contained them."""
    mends: list[Callable[[Schema], Schema]] = []
    if raw is not None and holds_null(raw):
        mends.append(without_nulls)
    if raw is not None and _OLDER_VALUE.search(memoryview(raw)) is not None:
        mends.append(to_current_draft)
    return tuple([_mend(tool, mends) for tool in tools]) if mends else tuple(tools)


def _mend(tool: Tool, mends: Sequence[Callable[[Schema], Schema]]) -> Tool:
    if not isinstance(tool, FunctionTool) or tool.schema is None:
        return tool
    schema = tool.schema
    for mend in mends:
        schema = mend(schema)
    return msgspec.structs.replace(tool, schema=schema)
