"""Finds the request field that a refusal complains about, and a way to do without it.

What all servers refuse cannot be listed. But nearly all of them name the field: in `param`, by a code, or in words. So
a field that we sent and that a refusal names is left out or replaced by its neutral form, once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise
from typing import Any

import msgspec

from app.conversation.capabilities import Capabilities
from app.conversation.schemas import SchemaStyle, sanitize
from app.dialects.anthropic_messages.vocabulary import FIELD_BETAS, LONG_CONTEXT_BETA
from app.dialects.json_bodies import repair_text
from app.dialects.refused_fields import ANY_BETA, BETA, ENTRY, NESTED, TOOL, nested_names
from app.dialects.registry import DIALECTS
from app.errors import Failure
from app.gateway.failures.change import Change, Repair
from app.gateway.failures.demands import DEMANDS, contains_any
from app.gateway.failures.refused_turns import EMPTY, LONGEST_WALK, PLAIN_TOOLS, repair_of_empty, repair_of_turns
from app.json_values import decode_or_none

# Maximum characters of a complaint examined: servers name the field early, and quote what they were sent after it.
LONGEST_COMPLAINT = 1000
# Maximum bytes of a request whose top-level fields are read.
LONGEST_REQUEST = 16 * 1024 * 1024


# Fields whose removal would make it a different request or an invalid one: errors about them go to the client.
KEPT = frozenset(
    {"model", "messages", "input", "prompt", "system", "instructions", "tools", "functions", "n", "modalities", "audio",
     "previous_response_id", "conversation", "thread", "contents", "role", "content", "type", "name", "id", "function",
     "arguments", "tool_calls", "tool_call_id", "call_id", "tool_use_id", "text", "parameters", "input_schema",
     "source", "image_url", "url", "data", "output", "description", "dimensions", "inference_geo"}
)  # fmt: skip
# The same below the top level, where these are a thought and its proof.
KEPT_BELOW = KEPT | {"thinking", "signature"}
# Words that a message may use without meaning the field: they count only if quoted, or introduced as a field.
COMMON = frozenset(
    {"user", "store", "stop", "stream", "include", "thinking", "reasoning", "metadata", "seed", "background", "strict",
     "refusal", "status", "detail", "phase", "format", "title", "container", "effort", "verbosity", "truncation"}
)  # fmt: skip

# The capability that governs a field, if there is one: then the adaptation can do better than leave the field out.
_NO_REASONING: dict[str, Any] = {"reasoning_style": "none", "reasoning_on_fields": {}, "reasoning_off_fields": {}}
CAPABILITIES: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": False},
    "top_p": {"top_p": False},
    "top_k": {"top_k": False},
    "presence_penalty": {"penalties": False},
    "frequency_penalty": {"penalties": False},
    "seed": {"seed": False},
    "logit_bias": {"logit_bias": False},
    "logprobs": {"logprobs": False},
    "top_logprobs": {"logprobs": False},
    "stream_options": {"stream_usage": False},
    "include_usage": {"stream_usage": False},
    "reasoning_effort": _NO_REASONING,
    "reasoning": _NO_REASONING,
    "thinking": _NO_REASONING,
    "enable_thinking": _NO_REASONING,
    "chat_template_kwargs": _NO_REASONING,
    "budget_tokens": _NO_REASONING,
    "parallel_tool_calls": {"parallel_switch": False},
    "disable_parallel_tool_use": {"parallel_switch": False},
    "strict": {"strict_tools": False, "strict_explicit": False},
    "cache_control": {"cache_hints": "none"},
    "prompt_cache_breakpoint": {"cache_hints": "none"},
    "prompt_cache_key": {"cache_key": False},
    "stop": {"stop_limit": 0},
    "stop_sequences": {"stop_limit": 0},
    "service_tier": {"service_tier": False},
    "verbosity": {"verbosity": False},
    "store": {"store": False},
    "user": {"user_field": "none"},
    "safety_identifier": {"user_field": "none"},
    "reasoning_content": {"reasoning_replay": "none", "reasoning_required": False},
    "reasoning_details": {"reasoning_replay": "none", "reasoning_required": False},
    "thinking_blocks": {"reasoning_replay": "none", "reasoning_required": False},
    "extra_content": {"unsigned_call": {}},
    "namespace": {"namespaces": False},
}
# Fields for which changing the capability is enough: passing requests consult it too.
ASKED = frozenset({"temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "logit_bias", "logprobs",
                   "top_logprobs", "stream_options", "include_usage"})  # fmt: skip

_REFUSES = re.compile(
    r"unknown|unrecogni[sz]ed|unsupported|unexpected|not (?:currently |yet )?support|n't support|no support"
    r"|not (?:permitted|allowed|accept|recogni[sz]ed|implemented|available|valid|compatible)|invalid|incompatible"
    r"|extra (?:inputs?|fields?)|additional|deprecated|disallow|forbid|\bonly\b|cannot be|can't be|must be set|must not"
    r"|(?:must|should) be one of|must either be|should not|extra_forbidden|for this model|with this model|unavailable"
    r"|no endpoints found|may not|must be ['\"`]?(?:auto|none)|input (?:should be|tag) ['\"]|should have at most"
    r"|不支持|不允许|不被允许|不可用|无效|非法|未知|参数错误|参数有误"
)
# The field is required, or the client's value has the wrong type.
_WANTED = re.compile(
    r"field required|is required|are required|\bmissing\b|must be (?:a|an) |should be (?:a|an) "
    r"|valid (?:string|integer|number|list|dict|bool)"
)
# A value out of range, in a field that may be left out.
_RANGED = re.compile(
    r"\b(temperature|top_p|top_k|min_p|presence_penalty|frequency_penalty|repetition_penalty|seed|top_logprobs)\b"
    r"[^.;]{0,60}?(?:must be|should be|must not|out of|range|between|greater|less|at most|at least|strictly|取值|范围)"
)
# How many stop sequences a server accepts.
_STOPS = re.compile(r"\bstop\b.{0,80}?(?:max(?:imum)?|at most|up to|more than|limit)[^\d]{0,30}(\d{1,2})(?!\d)")
_TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}(?:[.\[][A-Za-z0-9_.\[\]]{0,100})?")
_PART = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_HUMP = re.compile(r"(?<=[a-z])[A-Z]")
_INTRODUCED = ("parameter", "parameters", "param", "argument", "arguments", "field", "fields", "property", "properties",
               "key", "supplied", "option", "input", "inputs")  # fmt: skip
_QUOTES = "[]'\"`\u2018\u2019\u201c\u201d"

_OTHER_LIMIT = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}

# The server only streams.
_STREAM_ONLY = re.compile(
    r"non[-_ ]?stream|stream(?:ing)? (?:mode )?(?:is )?required|must (?:be )?stream|requires? stream"
    r"|only (?:support|available|allow|work)[a-z]{0,3} (?:for |in |with |the )?(?:a )?stream"
    r"|stream(?:ing)? only|streams only"
    r"|stream['\"`]? (?:parameter )?(?:must|should|has to|needs to) be (?:set to )?['\"`]?true|set stream to true"
    r"|stream=true"
)
# The server does not stream.
_WHOLE_ONLY = re.compile(
    r"stream['\"`]? (?:does not|doesn't) support (?:the value )?['\"`]?true"
    r"|stream(?:ing)?(?: mode)?['\"`]? (?:is |are )?(?:currently |yet )?(?:not|un)[- ]?(?:yet |currently )?"
    r"(?:support|available|allow|implement)"
    r"|(?:not|n't) (?:yet |currently )?support (?:for )?(?:tool use (?:in|with) )?stream(?:ing|s)?\b"
    r"|stream['\"`]? (?:parameter )?(?:must|should|has to|needs to) be (?:set to )?['\"`]?false|set stream to false"
    r"|stream=false|only non[- ]?stream|verified to stream"
)
# What Gemini takes in place of the proof of a past call that another model made.
_UNSIGNED_CALL = {"google": {"thought_signature": "skip_thought_signature_validator"}}
# How many images servers say that they accept.
_MANY_IMAGES = re.compile(
    r"(?:at most|up to|max(?:imum)?(?: of)?|limit of) (\d{1,3}) (?:images|image\(s\))"
    r"|\bimages\b[^.]{0,60}?(?:at most|up to|max(?:imum)?(?: is| of)?|limit(?: of| is)?|>) (\d{1,3})\b(?! ?[a-z%])"
)
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
# How servers refuse an entry of a list for its type.
_ENTRY = re.compile(
    r"(?:messages|context_management)[.\[][^:]{1,100}: input tag '([a-z_0-9]{1,60})'"
    r"|['\"`]((?:clear|compact)_[a-z_0-9]{1,60})['\"`] strategy"
)
# How servers say that a tool's description is too long.
_LONG_DESCRIPTION = re.compile(
    r"tools[^ ]{0,40}description.{0,80}(?:maximum length|at most|longer than|exceeds?|max(?:imum)?)[^\d]{0,20}(\d{2,5})"
)
# How servers say that a tool's name is too long.
_LONG_NAME = re.compile(
    r"name['\"`]?: string (?:should have|too long)[^\d]{0,60}(?:at most|maximum length)[^\d]{0,10}(\d{2,3})"
)
# The name of a beta in the vendor's form.
_BETA_NAME = re.compile(r"(?<![\w-])[a-z0-9][a-z0-9-]{1,60}-20\d\d-\d\d-\d\d(?![\w-])")
_REFUSES_BETAS = re.compile(
    r"(?:invalid|unknown|unsupported|unexpected|unrecogni[sz]ed) (?:[a-z-]+ )?beta"
    r"|beta (?:flag|header|feature)s? [^.]{0,20}not"
)
# How servers say that a model does not think, without a field's name, and the fields that ask it to.
_NEVER_THINKS = re.compile(r"not support (?:extended )?(?:thinking|reasoning)(?! ?[._a-z]*(?:type|budget|effort))")
_ASKS_TO_THINK = ("reasoning_effort", "thinking", "reasoning", "enable_thinking", "chat_template_kwargs")
# How servers say how long an answer may be; the number is beside it, often together with the requested one.
LIMITS = ("max_tokens", "max_completion_tokens", "max_output_tokens")
LEAST_LIMIT = 16
_SPEAKS_OF_LIMIT = re.compile(
    r"max_?tokens|max_completion_tokens|max_output_tokens|(?:completion|output|response) tokens"
    r"|maximum tokens you requested"
)
_IS_LIMIT = re.compile(
    r"at most|maximum|can only afford|less than|no more|<=|≤|>|range|exceed|limit|up to|too (?:large|high|big)|between"
    r"|范围"
)
_COUNT = re.compile(
    r"(?<![\w.,-])\d{1,3}(?:,\d{3}){1,3}(?![\w-])|(?<![\w.,-])\d{2,9}(?![\w-])|(?<=\[[01],)\d{2,9}(?=\])"
)
# How servers say that there are too many tools, and that they do not accept a tool's schema.
_TOO_MANY = re.compile(
    r"maximum (?:length|number of (?:items|tools|functions))[^\d]{0,20}(\d{1,5})"
    r"|(?:at most|more than|up to) (\d{1,5}) (?:tools|items)"
    r"|maximum of (\d{1,5}) (?:tools|functions)|limit of (\d{1,5}) tools"
)
# A choice that demands no call, and how servers speak of one that does.
_FREE = re.compile(rb'"(?:auto|none)"|null')
_SPEAKS_OF_FORCE = re.compile(
    r"tool choice|tool_choice[^.]{0,20} (?:must|should|has to) be (?:a |of type )?str"
    r"|forc(?:ed?|es|ing) (?:a |the )?(?:tool|function)"
)
_SPEAKS_OF_TOOLS = re.compile(r"tool|function|web search|schema conversion|unrecognized schema|pars(?:e|ing) grammar")
_SCHEMA = re.compile(
    r"schema|grammar|declares encrypted parameters|for '\w{1,20}' type, propert"
    r"|function[._](?:declarations|parameters)|\bparameters\b[^.]{0,40}(?:invalid|not valid|support)"
)
_NAMES_FORMAT = re.compile(
    r"response_format|output[_ ]format|output_config(?!\.effort)|text\.format|json_schema|structured output"
)
_SCHEMA_OF_ANSWER = re.compile(r"(?:response[ _]format|json_schema).{0,200}(?:schema|support|required|additional)")
# Gemini's schema has fewer keywords than those of other vendors, but some that they lack.
_GEMINI_SCHEMA = (("cannot find field",), ("proto field",), ("function_declarations",))
_GONE = re.compile(r"expired|not (?:be )?found|does not exist|no longer")
# How vendors say that they do not accept the reasoning of a past turn: its proof is wrong, missing or from another
# account, or the items around it differ from those it came with.
_PROOFS = (
    ("invalid", "signature", "thinking"),
    ("thinking", "signature", "required"),
    ("thinking", "cannot be modified"),
    ("thinking block", "must contain"),
    ("thinking is disabled", "cannot contain"),
    ("final block", "cannot be `thinking`"),
    ("without a corresponding", "tool_result"),
    ("corresponding `server_tool_use`",),
    ("advisor_tool_result",),
    ("invalid", "data", "redacted_thinking"),
    ("expected", "thinking", "redacted_thinking", "found"),
    ("invalid_encrypted_content",),
    ("encrypted content", "not match"),
    ("encrypted content", "not be"),
    ("not decrypt", "encrypted"),
    ("encrypted_content", "not issued"),
    ("server_tool_use.id", "should match pattern"),
    ("reasoning", "without its required"),
    ("items are not persisted",),
    ("item with id", "not found"),
)
# How servers name a field of a message or an item, and those of messages that servers take or that are dealt with
# otherwise.
_OF_MESSAGE = re.compile(r"\b(messages|input)[.\[]\d{1,6}\]?(?:\.|['\"`] : property ['\"`])([A-Za-z_]\w{0,63})\b")
_IN_MESSAGES = frozenset({"role", "content", "tool_calls", "tool_call_id", "function_call", "audio", "name"})
_MAX_ODD = 16
# What directly follows the name of a refused field, and what precedes one that ends the sentence.
_VERDICT = re.compile(
    r" (?:is|are|was) (?:not (?:yet )?|un|dis)(?:supported|allowed|permitted|accepted|available|recogni)| is deprecated"
    r"| ?(?:不支持|不允许|不可用|无效|非法)"
)
_FOLLOWED = re.compile(r"['\"`]? (?:parameter|field|argument|option|property)\b")
_LAST = re.compile(r"(?:support|allow|permit|accept|recogni[sz])[^:]{0,80}: ?$")


class _Function(msgspec.Struct):
    parameters: dict[str, Any] | None = None


class _Tool(_Function):
    """A declared tool, in any dialect."""

    function: _Function | None = None
    input_schema: dict[str, Any] | None = None
    tools: list[_Tool] = []  # of a namespace


_declared = msgspec.json.Decoder(list[_Tool])
_listed = msgspec.json.Decoder(list[msgspec.Raw])
_fields = msgspec.json.Decoder(dict[str, msgspec.Raw])
_messages = msgspec.json.Decoder(list[dict[str, msgspec.Raw]])


def find_repair(failure: Failure, message: str, capabilities: Capabilities, sent: bytes) -> Repair | None:
    """The change that a refusal calls for, unless it is already in force. `message` is its text, or the upstream's own
    part of it; `sent` is the refused body."""
    text = message[:LONGEST_COMPLAINT]
    lower = text.lower()
    repair = _repair_by_words(failure, lower, capabilities)
    if repair is not None:
        return _needed(repair, capabilities)
    sent = repair_text(sent)
    fields = _fields_of(sent)
    if fields is None:
        return None
    if contains_any(lower, EMPTY):
        return _needed(repair_of_empty(sent), capabilities)
    repair = _repair_by_fields(failure, lower, sent, fields)
    if repair is not None:
        return _needed(repair, capabilities)
    suspected = _likely_repairs(failure, text, capabilities, sent, fields)
    return next((needed for each in suspected if (needed := _needed(each, capabilities)) is not None), None)


def _repair_by_words(failure: Failure, text: str, capabilities: Capabilities) -> Repair | None:
    """The repair that the words of a complaint call for, regardless of what was sent."""
    if contains_any(f"{failure.code or ''} {text}", _PROOFS):
        # If a turn without reasoning is refused, the reasoning is kept as text.
        kept = {} if capabilities.reasoning_required else {"reasoning_replay": "none"}
        return Repair("proofs", Change({"proofs": (), **kept}), learned=False)
    if (names := _refused_betas(text)) is not None:
        fields = [field for field, beta in FIELD_BETAS.items() if (not names or beta in names) and "." not in field]
        betas = [BETA + name for name in names] or [ANY_BETA, "anthropic_beta"]
        return Repair("beta", Change(refused=(*betas, *fields)))
    demands = [Repair(name, Change(values)) for rows, name, values in DEMANDS if contains_any(text, rows)]
    if demands:
        return next((each for each in demands if _needed(each, capabilities)), demands[0])
    if (maximum := _LONG_DESCRIPTION.search(text)) is not None:
        return Repair("description", Change({"description_limit": int(maximum[1])}))
    if (maximum := _LONG_NAME.search(text)) is not None and "tool" in text:
        return Repair("tool names", Change({"tool_name_limit": int(maximum[1])}))
    if (maximum := _MANY_IMAGES.search(text)) is not None:
        return Repair("images", Change({"images_limit": int(maximum[1] or maximum[2])}))
    if "missing a thought_signature" in text:
        proven = {"unsigned_call": _UNSIGNED_CALL, "proofs": (capabilities.dialect,)}
        return Repair("call proofs", Change(proven))
    if "property keys should match" in text:
        return Repair("properties", Change({"plain_properties": True}))
    return None


def _refused_betas(text: str) -> list[str] | None:
    """The betas that a complaint names; empty if it names none of them, and None if it is about something else."""
    names = _BETA_NAME.findall(text) if "beta" in text or "anthropic" in text else []
    if not names and "long context" in text:
        return [LONG_CONTEXT_BETA] if "beta" in text or "extra usage" in text else None
    return names if names or _REFUSES_BETAS.search(text) else None


def _repair_by_fields(failure: Failure, text: str, sent: bytes, fields: dict[str, msgspec.Raw]) -> Repair | None:
    """The repair that the words call for in view of what was sent."""
    if "container" in fields and "container" in text and _GONE.search(text):
        return Repair("container", Change(refused=("container",)), learned=False)
    streams = bytes(fields.get("stream", b"")) == b"true"
    if "stream" in text and "stream_options" not in text:
        if not streams and _STREAM_ONLY.search(text):
            return Repair("stream", Change({"stream_only": True}))
        if streams and _WHOLE_ONLY.search(text):
            return Repair("whole", Change({"whole_only": True}))
    if (repair := repair_of_turns(text, failure.param, sent, fields)) is not None:
        return repair
    limit = _find_limit(text, fields)
    return None if limit is None else Repair("max_output", Change({"max_output": limit}))


def _likely_repairs(
    failure: Failure, text: str, capabilities: Capabilities, sent: bytes, fields: dict[str, msgspec.Raw]
) -> Iterator[Repair | None]:
    """Possible repairs, the likeliest first: schemas, tools, then each field that a complaint seems to name."""
    lower, named = text.lower(), failure.param or ""
    yield _repair_of_parts(named, lower, fields)
    if "tools" in fields and (_SPEAKS_OF_TOOLS.search(lower) or named.startswith("tools")):
        yield _repair_of_tools(failure, lower, fields, capabilities)
    if _is_forced(fields) and _SPEAKS_OF_FORCE.search(lower):
        yield _repair_of("tool_choice", "", fields, capabilities)
    if (ranged := _RANGED.search(lower)) is not None and ranged[1] in fields:
        yield _repair_of(ranged[1], "", fields, capabilities)
    if (stops := _STOPS.search(lower)) is not None and not {"stop", "stop_sequences"}.isdisjoint(fields):
        yield Repair("stop", Change({"stop_limit": int(stops[1])}))
    refuses = named or _REFUSES.search(lower) or _is_refusal_code(failure.code)
    if not refuses or _WANTED.search(lower):
        return
    if _NAMES_FORMAT.search(f"{named} {lower}") and _asks_schema(fields):
        yield _repair_of_format(fields, capabilities)
    yield _repair_of_messages(f"{named[:LONGEST_COMPLAINT]} {text}", fields)
    for name, place in _names(named[:LONGEST_COMPLAINT], text, fields, _find_below(sent)):
        yield _repair_of(name, place, fields, capabilities)


def _repair_of_messages(text: str, fields: dict[str, msgspec.Raw]) -> Repair | None:
    """A field of messages left out, with all others that no server needs: the next refusal would name one of these. Of
    items, only the id: each type has fields of its own."""
    found = _OF_MESSAGE.search(text)
    owner, name = found.groups() if found is not None else ("messages", "content")
    if owner == "input":
        return Repair("items", Change(refused=("input[].id",))) if name == "id" else None
    if name in CAPABILITIES or name in _IN_MESSAGES - {"name"}:
        return None
    messages = decode_or_none(fields.get("messages", msgspec.Raw()), _messages) or ()
    odd = {each for message in messages for each in message} - _IN_MESSAGES - CAPABILITIES.keys()
    names = odd | {name} if len(odd) < _MAX_ODD else {name}
    return Repair("messages", Change(refused=tuple([f"messages[].{each}" for each in sorted(names)])))


def _repair_of_parts(named: str, text: str, fields: dict[str, msgspec.Raw]) -> Repair | None:
    """The repair for an entry of a list whose type is refused, or for a format that is not closed."""
    if (entry := _ENTRY.search(text)) is not None:
        return Repair("entry", Change(refused=(ENTRY + (entry[1] or entry[2]),)), learned=False)
    wanted = bytes(fields.get("response_format") or fields.get("text") or b"")
    if b'"json_schema"' in wanted and _SCHEMA_OF_ANSWER.search(f"{named} {text}"):
        return Repair("format", Change({"closed_formats": True}))
    return None


def _find_below(sent: bytes) -> set[str]:
    """The names below the top level of a body; empty if it is too long or unreadable."""
    try:
        return nested_names(msgspec.json.decode(sent)) if len(sent) <= LONGEST_WALK else set()
    except (msgspec.DecodeError, RecursionError):
        return set()


def _repair_of_tools(
    failure: Failure, text: str, fields: dict[str, msgspec.Raw], capabilities: Capabilities
) -> Repair | None:
    """Fewer tools, function tools only, or schemas reduced to the keywords that every vendor accepts."""
    if (found := _TOO_MANY.search(text)) is not None:
        maximum = next(int(number) for number in found.groups() if number)
        return Repair("tools", Change({"tools_limit": maximum})) if 0 < maximum < _count_of(fields["tools"]) else None
    if (lacking := _LACKS_TOOL.search(text)) is not None:
        name = (lacking[1] or lacking[2]).replace(" ", "_")
        declared = (found[1].decode() for found in _TYPE.finditer(bytes(fields["tools"])))
        kind = next((each for each in declared if each == name or _DATE.sub("", each) == name), None)
        if kind is not None:
            others = tuple(each for each in capabilities.native_tools if each != kind)
            return Repair(f"tool {kind}", Change({"native_tools": others}, (TOOL + kind,)))
    if (dated := "not support tool types" in text) or _FUNCTIONS_ONLY.search(f"{failure.param or ''} {text}"):
        return Repair("tool types", Change(PLAIN_TOOLS), learned=not dated)  # Claude takes another date's
    if _SCHEMA.search(f"{failure.code or ''} {failure.param or ''} {text}"):
        style: SchemaStyle = "gemini" if contains_any(text, _GEMINI_SCHEMA) else "plain"
        if _may_be_reduced(fields["tools"], style):
            return Repair("schemas", Change({"schema": style}))
    return None


def _is_forced(fields: dict[str, msgspec.Raw]) -> bool:
    choice = bytes(fields.get("tool_choice", b""))
    return bool(choice) and _FREE.search(choice) is None


def _count_of(tools: msgspec.Raw) -> int:
    try:
        return len(_listed.decode(tools))
    except (msgspec.DecodeError, RecursionError):
        return 0


def _may_be_reduced(tools: msgspec.Raw, style: SchemaStyle) -> bool:
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


def find_affordable(message: str, capabilities: Capabilities, sent: bytes) -> Repair | None:
    """An output limit that the account can pay for now, if it has less left than the request asks for. Not learned."""
    fields = _fields_of(sent)
    limit = _find_limit(message[:LONGEST_COMPLAINT].lower(), fields) if fields is not None else None
    if limit is None:
        return None
    return _needed(Repair("max_output", Change({"max_output": limit}), learned=False), capabilities)


# Maximum digits of a number of tokens.
_MAX_DIGITS = 18


def _find_limit(text: str, fields: dict[str, msgspec.Raw]) -> int | None:
    """The maximum tokens of an answer that a refusal names, if the request asks for more."""
    if not _SPEAKS_OF_LIMIT.search(text) or not _IS_LIMIT.search(text):
        return None
    limits = [bytes(fields.get(name, b"")) for name in LIMITS]
    asked = max([int(raw) for raw in limits if raw.isdigit() and len(raw) <= _MAX_DIGITS], default=0)
    named = [int(number[0].replace(",", "")) for number in _COUNT.finditer(text)]
    return max([number for number in named if LEAST_LIMIT <= number < asked], default=None)


def _names(param: str, text: str, fields: dict[str, msgspec.Raw], below: set[str]) -> Iterator[tuple[str, str]]:
    """Names of sent fields that may be left out, the surest first, each with the prefix for its place."""
    if param:
        yield from _steps(param, fields, below)
        if not _REFUSES.search(text.lower()):
            return
    if _NEVER_THINKS.search(text.lower()):
        yield from ((name, "") for name in _ASKS_TO_THINK if name in fields)
    found = list(_TOKEN.finditer(text))
    quoted = [token for token in found if _is_quoted(text, token)]
    introduced = [token for before, token in pairwise(found) if before[0].lower() in _INTRODUCED]
    introduced += [token for token in found if _FOLLOWED.match(text, token.end())]
    headed = [token for token in found[:1] if text[token.end() : token.end() + 1] == ":"]
    judged = [token for token in found if _VERDICT.match(text, token.end())]
    named = [token for token in found[-1:] if _LAST.search(text[max(0, token.start() - 100) : token.start()].lower())]
    for token in (*quoted, *introduced, *headed, *judged, *named):
        yield from _steps(token[0], fields, below)
    for token in found:
        if token[0].rsplit(".", 1)[-1] not in COMMON:
            yield from _steps(token[0], fields, below, plain=True)


def _steps(
    path: str, fields: dict[str, msgspec.Raw], below: set[str], *, plain: bool = False
) -> Iterator[tuple[str, str]]:
    """The sent field that a path names: its last step, or else its first, with the prefix for its place: none at the
    top level, that of an object there, or NESTED. Servers that are not written in Python may write
    `presencePenalty`."""
    written = [step for step in _PART.findall(path) if step != "body"]
    plainly = [_HUMP.sub(lambda hump: "_" + hump[0].lower(), step) for step in written]
    for steps in (written,) if plainly == written else (written, plainly):
        yield from _find_step(steps, fields, below, plain)


def _find_step(
    steps: Sequence[str], fields: dict[str, msgspec.Raw], below: set[str], plain: bool
) -> Iterator[tuple[str, str]]:
    if not steps:
        return
    last, first = steps[-1], steps[0]
    if len(steps) == 1:
        if last in fields and last not in KEPT:
            yield last, ""
        elif last not in KEPT_BELOW and (not plain or "_" in last) and last in below:
            yield last, NESTED
        return
    if last not in KEPT and last in below:
        yield last, _place_of(steps, fields) if first in fields or last not in fields else ""
    elif first in fields and first not in KEPT:
        yield first, ""


def _place_of(steps: Sequence[str], fields: dict[str, msgspec.Raw]) -> str:
    """The prefix for the place of a field below the top level: other objects may need a field of its name."""
    first, last = steps[0], steps[-1]
    inside: Any = decode_or_none(fields[first], _fields) if len(steps) == 2 and first in fields else None
    return f"{first}." if inside is not None and last in inside else NESTED


def _repair_of(name: str, place: str, fields: dict[str, msgspec.Raw], capabilities: Capabilities) -> Repair | None:
    traits = DIALECTS[capabilities.dialect].TRAITS
    match name:
        case "max_tokens" | "max_completion_tokens" if traits.renamed_limit:
            other = Repair("limit", Change({"max_tokens_field": _OTHER_LIMIT[name]}))
            return other if capabilities.max_tokens_field == name else Repair(name, Change(refused=(name,)))
        case "max_tokens" if traits.needs_limit:
            return None
        case "tool_choice" if b'"none"' in bytes(fields.get("tool_choice", b"")):
            return Repair("no choice", Change({"tool_choice": False}, ("tool_choice",)))
        case "tool_choice":
            if bytes(fields.get("tool_choice", b"")).startswith(b"{") and capabilities.named_tool:
                return Repair("named tool", Change({"named_tool": False}))
            if capabilities.forced_tool:
                return Repair("forced tool", Change({"named_tool": False, "forced_tool": False}, ("tool_choice",)))
            return Repair("tool_choice", Change({"tool_choice": False}, ("tool_choice",)))
        case "response_format" | "json_schema" | "output_format":
            return _repair_of_format(fields, capabilities)
        case "stream":
            return None
    change = CAPABILITIES.get(name, {})
    if name in ASKED and Change(change)(capabilities) != capabilities:
        return Repair(name, Change(change))
    return Repair(name, Change(change, (f"{place}{name}",)))


def _repair_of_format(fields: dict[str, msgspec.Raw], capabilities: Capabilities) -> Repair:
    """A weaker form of the answer's format: any JSON or a tool instead of a schema, then words only."""
    if capabilities.structured == "schema" and _asks_schema(fields):
        weaker = "tool" if "output_config" in fields or "output_format" in fields else "json_object"
        return Repair("json_schema", Change({"structured": weaker}))
    return Repair("response_format", Change({"structured": "none", "json_object": False}, ("response_format",)))


def _asks_schema(fields: dict[str, msgspec.Raw]) -> bool:
    formats = [fields.get(name, b"") for name in ("response_format", "output_config", "output_format", "text")]
    return any(b'"json_schema"' in bytes(written) for written in formats)


def _needed(repair: Repair | None, capabilities: Capabilities) -> Repair | None:
    return repair if repair is not None and repair.change(capabilities) != capabilities else None


def _fields_of(sent: bytes) -> dict[str, msgspec.Raw] | None:
    if len(sent) > LONGEST_REQUEST:
        return None
    try:
        return _fields.decode(sent)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return None


def _is_quoted(text: str, token: re.Match[str]) -> bool:
    before, after = text[token.start() - 1 : token.start()], text[token.end() : token.end() + 1]
    return bool(before) and before in _QUOTES and bool(after) and after in _QUOTES


def _is_refusal_code(code: str | None) -> bool:
    return code is not None and any(word in code for word in ("unsupported", "unknown", "extra", "unrecognized"))
