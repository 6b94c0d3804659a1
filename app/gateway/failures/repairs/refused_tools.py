"""Finds the repair of tools that a server refuses: their number, types or schemas."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any

import msgspec

from app.conversation.schemas import SchemaStyle, sanitize
from app.dialects.refused_fields import TOOL
from app.gateway.failures.repairs.change import Change, Repair
from app.gateway.failures.repairs.demands import contains_any
from app.gateway.failures.repairs.refusal import LONGEST_WALK, Refusal
from app.gateway.failures.repairs.refused_turns import PLAIN_TOOLS
from app.json_values import decode_or_none, list_decoder

# How servers say that they only support function tools.
_FUNCTIONS_ONLY = re.compile(
    r"\btools?(?:\[\d{1,4}\]|\.\d{1,4})\.type|only [^.]{0,40}function[^.]{0,12} (?:tools|tool type|is|are)\b"
    r"|(?:unsupported|unknown|invalid|unrecogni[sz]ed) tool type"
    r"|tool type [^.]{0,60}(?:not |un)(?:yet )?(?:support|known)"
    r"|\btools\b[^:]{0,40}: input tag '[^']{1,60}' found using 'type' does not match"
    r"|\.custom\.input_schema: field required|'type' of tool must be|function name or parameters is empty"
)
# How servers name a tool of the vendor's that they do not have, at least not for this model.
_LACKS_TOOL = re.compile(
    r"(?:tools? (?:type )?['\"`]?([a-z_0-9]{1,40})['\"`]?|\b(web[ _](?:search|fetch)|code[ _]execution)\b(?: tool)?)"
    r" (?:is|are) not (?:supported|available|allowed|enabled)"
)
_TYPE = re.compile(rb'"type"\s*+:\s*+"([\w.-]{1,64})"')
_DATE = re.compile(r"_\d{8}$")
# How servers say that there are too many tools, and that they do not accept a tool's schema.
_TOO_MANY = re.compile(
    r"maximum (?:length|number of (?:items|tools|functions))[^\d]{0,20}(\d{1,5})"
    r"|(?:at most|more than|up to) (\d{1,5}) (?:tools|items)"
    r"|maximum of (\d{1,5}) (?:tools|functions)|limit of (\d{1,5}) tools"
)
_SPEAKS_OF_TOOLS = re.compile(r"tool|function|web search|schema conversion|unrecognized schema|pars(?:e|ing) grammar")
_SCHEMA = re.compile(
    r"schema|grammar|declares encrypted parameters|for '\w{1,20}' type, propert"
    r"|function[._](?:declarations|parameters)|\bparameters\b[^.]{0,40}(?:invalid|not valid|support)"
)
# Gemini's schema has fewer keywords than those of other vendors, but some that they lack.
_GEMINI_SCHEMA = (("cannot find field",), ("proto field",), ("function_declarations",))


class _Function(msgspec.Struct):
    parameters: dict[str, Any] | None = None


class _Tool(_Function):
    """A declared tool, in any dialect."""

    function: _Function | None = None
    input_schema: dict[str, Any] | None = None
    tools: list[_Tool] = []  # of a namespace


_declared = msgspec.json.Decoder(list[_Tool])


def repair_of_tools(refusal: Refusal) -> Repair | None:
    """Fewer tools, function tools only, or schemas reduced to the keywords that every vendor accepts."""
    text, tools = refusal.text, refusal.field("tools")
    if not tools or not (_SPEAKS_OF_TOOLS.search(text) or refusal.param.startswith("tools")):
        return None
    if (found := _TOO_MANY.search(text)) is not None:
        maximum = next(int(number) for number in found.groups() if number)
        listed = decode_or_none(tools, list_decoder) or []
        return Repair("tools", Change({"tools_limit": maximum})) if 0 < maximum < len(listed) else None
    if (lacking := _LACKS_TOOL.search(text)) is not None:
        name = (lacking[1] or lacking[2]).replace(" ", "_")
        declared = (found[1].decode() for found in _TYPE.finditer(tools))
        kind = next((each for each in declared if each == name or _DATE.sub("", each) == name), None)
        if kind is not None:
            others = tuple(each for each in refusal.capabilities.native_tools if not fnmatchcase(kind, each))
            return Repair(f"tool {kind}", Change({"native_tools": others}, (TOOL + kind,)))
    if (dated := "not support tool types" in text) or _FUNCTIONS_ONLY.search(f"{refusal.param} {text}"):
        return Repair("tool types", Change(PLAIN_TOOLS), learned=not dated)  # Claude takes another date's
    if _SCHEMA.search(f"{refusal.code} {refusal.param} {text}"):
        style: SchemaStyle = "gemini" if contains_any(text, _GEMINI_SCHEMA) else "plain"
        if _may_be_reduced(tools, style):
            return Repair("schemas", Change({"schema": style}))
    return None


def _may_be_reduced(tools: bytes, style: SchemaStyle) -> bool:
    """Whether a sent schema has more than the keywords of a style."""
    if len(tools) > LONGEST_WALK:
        return False
    try:
        declared = [each for tool in _declared.decode(tools) for each in (tool, *tool.tools)]
        schemas = [(tool.function or tool).parameters or tool.input_schema for tool in declared]
        return any(
            sanitize(schema, style)[0] != schema or (style == "gemini" and not schema.get("properties"))
            for schema in schemas
            if schema is not None
        )
    except (msgspec.DecodeError, RecursionError):
        return False
