"""Finds the change that a refusal calls for.

What all servers refuse cannot be listed. But nearly all of them name the field: in `param`, by a code, or in words. So
a field that we sent and that a refusal names is left out or replaced by its neutral form, once.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from app.dialects.anthropic_messages.vocabulary import FIELD_BETAS, LONG_CONTEXT_BETA
from app.dialects.refused_fields import ANY_BETA, BETA, ENTRY
from app.gateway.failures.repairs.change import Change, Repair
from app.gateway.failures.repairs.demands import DEMANDS, contains_any
from app.gateway.failures.repairs.field_repairs import asks_schema, repair_of_field, repair_of_format
from app.gateway.failures.repairs.named_fields import find_named_fields, may_name_field
from app.gateway.failures.repairs.output_limit import repair_of_limit
from app.gateway.failures.repairs.refusal import Refusal
from app.gateway.failures.repairs.refused_tools import repair_of_tools
from app.gateway.failures.repairs.refused_turns import (
    EMPTY,
    repair_of_empty,
    repair_of_message_fields,
    repair_of_turns,
)

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
# The name of a beta in the vendor's form.
_BETA_NAME = re.compile(r"(?<![\w-])[a-z0-9][a-z0-9-]{1,60}-20\d\d-\d\d-\d\d(?![\w-])")
_REFUSES_BETAS = re.compile(
    r"(?:invalid|unknown|unsupported|unexpected|unrecogni[sz]ed) (?:[a-z-]+ )?beta"
    r"|beta (?:flag|header|feature)s? [^.]{0,20}not"
)
# How servers say that a tool's description is too long.
_LONG_DESCRIPTION = re.compile(
    r"tools[^ ]{0,40}description.{0,80}(?:maximum length|at most|longer than|exceeds?|max(?:imum)?)[^\d]{0,20}(\d{2,5})"
)
# How servers say that a tool's name is too long.
_LONG_NAME = re.compile(
    r"name['\"`]?: string (?:should have|too long)[^\d]{0,60}(?:at most|maximum length)[^\d]{0,10}(\d{2,3})"
)
# How many images servers say that they accept.
_MANY_IMAGES = re.compile(
    r"(?:at most|up to|max(?:imum)?(?: of)?|limit of) (\d{1,3}) (?:images|image\(s\))"
    r"|\bimages\b[^.]{0,60}?(?:at most|up to|max(?:imum)?(?: is| of)?|limit(?: of| is)?|>) (\d{1,3})\b(?! ?[a-z%])"
)
# Which capability each of these limits sets, and words without which they are about something else.
_LIMITS = (
    ("", _LONG_DESCRIPTION, "description", "description_limit"),
    ("tool", _LONG_NAME, "tool names", "tool_name_limit"),
    ("", _MANY_IMAGES, "images", "images_limit"),
)
# What Gemini takes in place of the proof of a past call that another model made.
_UNSIGNED_CALL = {"google": {"thought_signature": "skip_thought_signature_validator"}}
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
# How servers refuse an entry of a list for its type.
_ENTRY = re.compile(
    r"(?:messages|context_management)[.\[][^:]{1,100}: input tag '([a-z_0-9]{1,60})'"
    r"|['\"`]((?:clear|compact)_[a-z_0-9]{1,60})['\"`] strategy"
)
_NAMES_FORMAT = re.compile(
    r"response_format|output[_ ]format|output_config(?!\.effort)|text\.format|json_schema|structured output"
)
_SCHEMA_OF_ANSWER = re.compile(r"(?:response[ _]format|json_schema).{0,200}(?:schema|support|required|additional)")
# A choice that demands no call, and how servers speak of one that does.
_FREE = re.compile(rb'"(?:auto|none)"|null')
_SPEAKS_OF_FORCE = re.compile(
    r"tool choice|tool_choice[^.]{0,20} (?:must|should|has to) be (?:a |of type )?str"
    r"|forc(?:ed?|es|ing) (?:a |the )?(?:tool|function)"
)
# A value out of range, in a field that may be left out.
_RANGED = re.compile(
    r"\b(temperature|top_p|top_k|min_p|presence_penalty|frequency_penalty|repetition_penalty|seed|top_logprobs)\b"
    r"[^.;]{0,60}?(?:must be|should be|must not|out of|range|between|greater|less|at most|at least|strictly|取值|范围)"
)
# How many stop sequences a server accepts.
_STOPS = re.compile(r"\bstop\b.{0,80}?(?:max(?:imum)?|at most|up to|more than|limit)[^\d]{0,30}(\d{1,2})(?!\d)")


def repair_of_complaint(refusal: Refusal) -> Repair | None:
    """The change that a refusal calls for, unless it is already in force."""
    capabilities = refusal.capabilities
    repair = _repair_by_words(refusal)
    if repair is None and refusal.fields:
        if contains_any(refusal.text, EMPTY):
            repair = repair_of_empty(refusal)
        elif (repair := _repair_by_fields(refusal)) is None:
            repair = next((each for each in _likely_repairs(refusal) if each and each.is_needed(capabilities)), None)
    return repair if repair is not None and repair.is_needed(capabilities) else None


def _repair_by_words(refusal: Refusal) -> Repair | None:
    """The repair that the words of a complaint call for, regardless of what was sent."""
    text, capabilities = refusal.text, refusal.capabilities
    if contains_any(f"{refusal.code} {text}", _PROOFS):
        # If a turn without reasoning is refused, the reasoning is kept as text.
        kept = {} if capabilities.reasoning_required else {"reasoning_replay": "none"}
        return Repair("proofs", Change({"proofs": (), **kept}), learned=False)
    if (names := _refused_betas(text)) is not None:
        fields = [field for field, beta in FIELD_BETAS.items() if (not names or beta in names) and "." not in field]
        betas = [BETA + name for name in names] or [ANY_BETA, "anthropic_beta"]
        return Repair("beta", Change(refused=(*betas, *fields)))
    demands = [Repair(name, Change(values)) for rows, name, values in DEMANDS if contains_any(text, rows)]
    if demands:
        return next((each for each in demands if each.is_needed(capabilities)), demands[0])
    for words, pattern, name, capability in _LIMITS:
        if words in text and (found := pattern.search(text)) is not None:
            maximum = next(int(number) for number in found.groups() if number)
            return Repair(name, Change({capability: maximum}))
    if "missing a thought_signature" in text:
        proven = {"unsigned_call": _UNSIGNED_CALL, "proofs": (capabilities.dialect,)}
        return Repair("call proofs", Change(proven))
    return None


def _refused_betas(text: str) -> list[str] | None:
    """The betas that a complaint names; empty if it names none of them, and None if it is about something else."""
    names = _BETA_NAME.findall(text) if "beta" in text or "anthropic" in text else []
    if not names and "long context" in text:
        return [LONG_CONTEXT_BETA] if "beta" in text or "extra usage" in text else None
    return names if names or _REFUSES_BETAS.search(text) else None


def _repair_by_fields(refusal: Refusal) -> Repair | None:
    """The repair that the words call for in view of what was sent."""
    text = refusal.text
    if refusal.field("container") and "container" in text and _GONE.search(text):
        return Repair("container", Change(refused=("container",)), learned=False)
    streams = refusal.field("stream") == b"true"
    if "stream" in text and "stream_options" not in text:
        if not streams and _STREAM_ONLY.search(text):
            return Repair("stream", Change({"stream_only": True}))
        if streams and _WHOLE_ONLY.search(text):
            return Repair("whole", Change({"whole_only": True}))
    return repair_of_turns(refusal) or repair_of_limit(refusal)


def _likely_repairs(refusal: Refusal) -> Iterator[Repair | None]:
    """Possible repairs, the likeliest first: schemas, tools, then each field that a complaint seems to name."""
    text, fields = refusal.text, refusal.fields
    yield _repair_of_entry(text)
    yield _repair_of_open_format(refusal)
    yield repair_of_tools(refusal)
    if _is_forced(refusal.field("tool_choice")) and _SPEAKS_OF_FORCE.search(text):
        yield repair_of_field("tool_choice", "", refusal)
    if (ranged := _RANGED.search(text)) is not None and ranged[1] in fields:
        yield repair_of_field(ranged[1], "", refusal)
    if (stops := _STOPS.search(text)) is not None and not {"stop", "stop_sequences"}.isdisjoint(fields):
        yield Repair("stop", Change({"stop_limit": int(stops[1])}))
    if not may_name_field(refusal):
        return
    if _NAMES_FORMAT.search(f"{refusal.param} {text}") and asks_schema(refusal):
        yield repair_of_format(refusal)
    yield repair_of_message_fields(refusal)
    for name, place in find_named_fields(refusal):
        yield repair_of_field(name, place, refusal)


def _repair_of_entry(text: str) -> Repair | None:
    """The repair for an entry of a list whose type is refused."""
    entry = _ENTRY.search(text)
    return Repair("entry", Change(refused=(ENTRY + (entry[1] or entry[2]),)), learned=False) if entry else None


def _repair_of_open_format(refusal: Refusal) -> Repair | None:
    """The repair for a format that has to be closed."""
    wanted = refusal.field("response_format") or refusal.field("text")
    if b'"json_schema"' in wanted and _SCHEMA_OF_ANSWER.search(f"{refusal.param} {refusal.text}"):
        return Repair("format", Change({"closed_formats": True}))
    return None


def _is_forced(choice: bytes) -> bool:
    return bool(choice) and _FREE.search(choice) is None
