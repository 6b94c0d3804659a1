"""Finds the fields of a request that a refusal names: in `param`, by a code, or in words."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from app.dialects.refused_fields import NESTED, nested_names
from app.gateway.failures.repairs.refusal import LONGEST_WALK, Refusal
from app.json_values import Fields, any_decoder, decode_or_none, fields_decoder

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
_TOKEN = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}(?:[.\[][A-Za-z0-9_.\[\]]{0,100})?")
_PART = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,63}")
_HUMP = re.compile(r"(?<=[a-z])[A-Z]")
_INTRODUCED = ("parameter", "parameters", "param", "argument", "arguments", "field", "fields", "property", "properties",
               "key", "supplied", "option", "input", "inputs")  # fmt: skip
_QUOTES = "[]'\"`\u2018\u2019\u201c\u201d"

# How servers say that a model does not think, without a field's name, and the fields that ask it to.
_NEVER_THINKS = re.compile(r"not support (?:extended )?(?:thinking|reasoning)(?! ?[._a-z]*(?:type|budget|effort))")
_ASKS_TO_THINK = ("reasoning_effort", "thinking", "reasoning", "enable_thinking", "chat_template_kwargs")
# What directly follows the name of a refused field, and what precedes one that ends the sentence.
_VERDICT = re.compile(
    r" (?:is|are|was) (?:not (?:yet )?|un|dis)(?:supported|allowed|permitted|accepted|available|recogni)| is deprecated"
    r"| ?(?:不支持|不允许|不可用|无效|非法)"
)
_FOLLOWED = re.compile(r"['\"`]? (?:parameter|field|argument|option|property)\b")
_LAST = re.compile(r"(?:support|allow|permit|accept|recogni[sz])[^:]{0,80}: ?$")


def may_name_field(refusal: Refusal) -> bool:
    """Whether a refusal may be about a field that can be left out, and not about one that is missing."""
    by_code = any(word in refusal.code for word in ("unsupported", "unknown", "extra", "unrecognized"))
    return bool(refusal.param or _REFUSES.search(refusal.text) or by_code) and not _WANTED.search(refusal.text)


def find_named_fields(refusal: Refusal) -> Iterator[tuple[str, str]]:
    """Names of sent fields that may be left out, the surest first, each with the prefix for its place."""
    said, fields, below = refusal.said, refusal.fields, _find_below(refusal.sent)
    if refusal.param:
        yield from _steps(refusal.param, fields, below)
        if not _REFUSES.search(refusal.text):
            return
    if _NEVER_THINKS.search(refusal.text):
        yield from ((name, "") for name in _ASKS_TO_THINK if name in fields)
    found = list(_TOKEN.finditer(said))
    quoted = [token for token in found if _is_quoted(said, token)]
    introduced = [token for before, token in pairwise(found) if before[0].lower() in _INTRODUCED]
    introduced += [token for token in found if _FOLLOWED.match(said, token.end())]
    headed = [token for token in found[:1] if said[token.end() : token.end() + 1] == ":"]
    judged = [token for token in found if _VERDICT.match(said, token.end())]
    named = [token for token in found[-1:] if _LAST.search(said[max(0, token.start() - 100) : token.start()].lower())]
    for token in (*quoted, *introduced, *headed, *judged, *named):
        yield from _steps(token[0], fields, below)
    for token in found:
        if token[0].rsplit(".", 1)[-1] not in COMMON:
            yield from _steps(token[0], fields, below, plain=True)


def _steps(path: str, fields: Fields, below: set[str], *, plain: bool = False) -> Iterator[tuple[str, str]]:
    """The sent field that a path names: its last step, or else its first, with the prefix for its place: none at the
    top level, that of an object there, or NESTED. Servers that are not written in Python may write
    `presencePenalty`."""
    written = [step for step in _PART.findall(path) if step != "body"]
    plainly = [_HUMP.sub(lambda hump: "_" + hump[0].lower(), step) for step in written]
    for steps in (written,) if plainly == written else (written, plainly):
        yield from _find_step(steps, fields, below, plain)


def _find_step(steps: Sequence[str], fields: Fields, below: set[str], plain: bool) -> Iterator[tuple[str, str]]:
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


def _place_of(steps: Sequence[str], fields: Fields) -> str:
    """The prefix for the place of a field below the top level: other objects may need a field of its name."""
    first, last = steps[0], steps[-1]
    inside = decode_or_none(fields[first], fields_decoder) if len(steps) == 2 and first in fields else None
    return f"{first}." if inside is not None and last in inside else NESTED


def _find_below(sent: bytes) -> set[str]:
    """The names below the top level of a body; empty if it is too long or unreadable."""
    return nested_names(decode_or_none(sent, any_decoder)) if len(sent) <= LONGEST_WALK else set()


def _is_quoted(text: str, token: re.Match[str]) -> bool:
    before, after = text[token.start() - 1 : token.start()], text[token.end() : token.end() + 1]
    return bool(before) and before in _QUOTES and bool(after) and after in _QUOTES
