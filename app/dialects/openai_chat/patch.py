"""What a request of this dialect still needs for an upstream of the same dialect.

The body is not read into the model: only its top level is taken apart, what needs no change keeps its bytes, and a body
that needs none but another model name is not even put together again.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import msgspec

from app.conversation.capabilities import Capabilities
from app.conversation.losses import Loss, Severity
from app.conversation.schemas import sanitize, to_gemini_subset
from app.conversation.thoughts import Thought
from app.dialects.contract import RenderedRequest
from app.dialects.json_bodies import Fields, encode_body, fields_decoder, list_decoder, read_body, replace_model
from app.dialects.openai_chat import reasoning
from app.dialects.openai_chat.foreign_parts import FOREIGN
from app.dialects.openai_chat.request import parse_request, render_request
from app.dialects.openai_chat.tools import nest_tool
from app.dialects.openai_chat.vocabulary import REASONING_KEYS

_any = msgspec.json.Decoder()

# Words without which no message needs an edit, as a regular expression one pass over the body instead of several.
_SUSPECT = re.compile(rb'"(?:developer"|gw1\.|reasoning|thinking)')

_TOKEN_FIELDS = ("max_tokens", "max_completion_tokens")

# Sampling fields, and the capability without which an upstream refuses them.
_SAMPLING: dict[str, tuple[str, Severity]] = {
    "temperature": ("temperature", "degrading"),
    "top_p": ("top_p", "degrading"),
    "frequency_penalty": ("penalties", "degrading"),
    "presence_penalty": ("penalties", "degrading"),
    "seed": ("seed", "ignorable"),
    "logit_bias": ("logit_bias", "degrading"),
    "logprobs": ("logprobs", "wrong"),
    "top_logprobs": ("logprobs", "wrong"),
}
# Those that reasoning models take while they do not think.
_FREED = ("temperature", "top_p", "logprobs", "top_logprobs")


def patch_request(body: bytes, capabilities: Capabilities) -> RenderedRequest:
    """The body for an upstream, its model replaced and mended where it is broken or the upstream asks for it.

    Raises InvalidRequest for what is no request. `input` in place of `messages` goes the long way through the model.
    """
    fields = read_body(body)
    if ("messages" not in fields and "input" in fields) or FOREIGN.search(fields.get("messages", b"")) is not None:
        request = parse_request(body, {})
        model = capabilities.model or request.model
        return render_request(msgspec.structs.replace(request, model=model), capabilities)
    before = dict(fields)
    losses: list[Loss] = []
    _patch_limits(fields, capabilities, losses)
    _patch_stream(fields, capabilities)
    _patch_tools(fields, capabilities, losses)
    if not capabilities.named_tool:
        _patch_choice(fields)
    _patch_format(fields, capabilities, losses)
    if "messages" in fields:
        _patch_messages(fields, body, capabilities)
    for name, value in capabilities.extra_body.items():
        fields[name] = msgspec.Raw(encode_body(value))
    for name in capabilities.refused_fields:
        if fields.pop(name, None) is not None:
            losses.append(Loss("ignorable", name, "this upstream refuses the field"))
    if _differs(fields, before):
        if capabilities.model:
            fields["model"] = msgspec.Raw(encode_body(capabilities.model))
        body = encode_body(fields)
    elif capabilities.model:
        body = replace_model(body, capabilities.model, fields)
    return RenderedRequest(body, {}, tuple(losses))


def restore_reasoning(body: bytes, thoughts: Mapping[str, str], capabilities: Capabilities) -> bytes:
    """The body with past reasoning in the messages that have these paths, under the name that the upstream reads."""
    fields = read_body(body)
    name = _name_of_reasoning(capabilities)
    messages: list[Any] = list_decoder.decode(fields["messages"])
    for index, raw in enumerate(messages):
        text = thoughts.get(f"messages[{index}]")
        if text is not None:
            messages[index] = {**fields_decoder.decode(raw), name: text}
    return encode_body({**fields, "messages": messages})


def restore_signatures(body: bytes, kept: Mapping[str, Sequence[Thought]]) -> bytes:
    """The body with what signed the past calls of the messages that have these paths, for calls that lack it."""
    fields = read_body(body)
    messages: list[Any] = list_decoder.decode(fields["messages"])
    for index, raw in enumerate(messages):
        signed = {
            max(thought.place, 1) - 1: thought.block.proof.originals[0]
            for thought in kept.get(f"messages[{index}]", ())
            if thought.block.proof is not None and reasoning.is_of_call(thought.block.proof)
        }
        if signed:
            message: dict[str, Any] = dict(fields_decoder.decode(raw))
            calls = [fields_decoder.decode(call) for call in list_decoder.decode(message["tool_calls"])]
            message["tool_calls"] = [
                {**call, "extra_content": msgspec.Raw(signed[number])} if number in signed else call
                for number, call in enumerate(calls)
            ]
            messages[index] = message
    return encode_body({**fields, "messages": messages})


def _differs(fields: Fields, before: Fields) -> bool:
    return fields.keys() != before.keys() or any(fields[name] is not before[name] for name in fields)


def _patch_limits(fields: Fields, capabilities: Capabilities, losses: list[Loss]) -> None:
    """Limits under the name that the upstream knows, for it refuses the other one, and both; sampling that it takes."""
    wanted = capabilities.max_tokens_field
    other = next((name for name in _TOKEN_FIELDS if name != wanted and name in fields), None)
    if other is not None and wanted in _TOKEN_FIELDS:
        value = fields.pop(other)
        fields.setdefault(wanted, value)
    limit = capabilities.max_output
    if limit is not None and wanted in fields and _is_above(fields[wanted], limit):
        lowered = (float(bytes(fields[wanted])), limit)
        fields[wanted] = msgspec.Raw(str(limit).encode())
        losses.append(Loss("degrading", wanted, f"the model answers with {limit} tokens at most", lowered))
    thinks = capabilities.reasoning_excludes_sampling and _is_set(fields, "reasoning_effort", unlike=b'"none"')
    freed = _FREED if _does_not_think(fields, capabilities) else ()
    for name, (capability, loss) in _SAMPLING.items():
        taken = getattr(capabilities, capability) or name in freed
        refused = not taken or (thinks and name in ("temperature", "top_p"))
        if refused and name in fields:
            said = bytes(fields.pop(name))
            losses.append(
                Loss("ignorable" if said in (b"null", b"false") else loss, name, "this model takes no such setting")
            )
    if "temperature" in fields and _is_above(fields["temperature"], capabilities.temperature_max):
        most = capabilities.temperature_max
        cooled = (float(bytes(fields["temperature"])), most)
        fields["temperature"] = msgspec.Raw(b"%g" % most)
        losses.append(Loss("degrading", "temperature", f"this model takes at most {most:g}", cooled))
    if capabilities.stop_limit == 0 and fields.pop("stop", None) is not None:
        losses.append(Loss("degrading", "stop", "this model takes no stop sequences"))


def _does_not_think(fields: Fields, capabilities: Capabilities) -> bool:
    """Whether a model that can be kept from thinking is, by the request or by itself."""
    asked = bytes(fields.get("reasoning_effort", b"null"))
    by_itself = asked == b"null" and not capabilities.reasoning_by_default
    return capabilities.reasoning_off == "none" and (asked == b'"none"' or by_itself)


def _patch_stream(fields: Fields, capabilities: Capabilities) -> None:
    """A stream that is asked for only to be collected has to bring the usage, which a whole answer has by itself."""
    if capabilities.stream_only and not _is_set(fields, "stream", unlike=b"false"):
        fields["stream"] = msgspec.Raw(b"true")
        fields["stream_options"] = msgspec.Raw(b'{"include_usage":true}')
    if not capabilities.stream_usage:
        fields.pop("stream_options", None)


def _patch_tools(fields: Fields, capabilities: Capabilities, losses: list[Loss]) -> None:
    """Flat tools, which Cursor sends, in the nested form; schemas as far as the upstream understands them."""
    if "tools" not in fields or not bytes(fields["tools"]).startswith(b"["):
        return
    tools: list[Any] = list_decoder.decode(fields["tools"])
    changed = False
    for index, raw in enumerate(tools):
        tool: Any = _nest(raw)
        if capabilities.schema == "gemini":
            tool = _fit_parameters(tool or raw, f"tools[{index}]", losses)
        if tool is not None:
            tools[index], changed = tool, True
    if changed:
        fields["tools"] = msgspec.Raw(encode_body(tools))


def _fit_parameters(tool: Any, path: str, losses: list[Loss]) -> Any:
    """A function whose parameters stay within the subset of Gemini, which promises to keep to none."""
    value = _any.decode(encode_body(tool))
    match value:
        case {"function": {"parameters": dict(parameters)} as function}:
            function["parameters"], lost = sanitize(parameters, "gemini")
            function.pop("strict", None)
            losses.extend(Loss("degrading", path, why) for why in lost)
    return value


def _patch_choice(fields: Fields) -> None:
    """Any tool forced, with only the named one declared, and those that the history calls."""
    choice = _any.decode(fields["tool_choice"]) if "tool_choice" in fields else None
    match choice:
        case {"function": {"name": str(name)}} if "tools" in fields:
            tools: list[Any] = _any.decode(fields["tools"])
            history = bytes(fields.get("messages", b""))
            called = history if b'"tool_calls"' in history else b""
            kept = [tool for tool in tools if _is_needed(tool, name, called)]
            fields["tools"], fields["tool_choice"] = msgspec.Raw(encode_body(kept)), msgspec.Raw(b'"required"')


def _is_needed(tool: Any, name: str, history: bytes) -> bool:
    match tool:
        case {"function": {"name": str(own)}}:
            return own == name or encode_body(own) in history
        case _:
            return True


def _patch_format(fields: Fields, capabilities: Capabilities, losses: list[Loss]) -> None:
    if capabilities.structured == "json_object" and b'"json_schema"' in bytes(fields.get("response_format", b"")):
        fields["response_format"] = msgspec.Raw(b'{"type":"json_object"}')
        losses.append(Loss("degrading", "response_format", "this upstream knows no schemas: any JSON is asked for"))
        return
    if capabilities.schema != "gemini" or "response_format" not in fields:
        return
    wanted = _any.decode(fields["response_format"])
    match wanted:
        case {"json_schema": {"schema": dict(schema)} as outer}:
            outer["schema"], lost = to_gemini_subset(schema)
            losses.extend(Loss("degrading", "response_format", why) for why in lost)
            fields["response_format"] = msgspec.Raw(encode_body(wanted))


def _nest(raw: msgspec.Raw) -> dict[str, Any] | None:
    try:
        return nest_tool(fields_decoder.decode(raw))
    except msgspec.DecodeError:
        return None


# Changes the fields of one message in place; True if it did.
_Edit = Callable[[Fields], bool]


def _patch_messages(fields: Fields, body: bytes, capabilities: Capabilities) -> None:
    """Edit single messages, if the cheapest look at the bytes says that there may be something to edit."""
    edits: list[_Edit] = []
    if _SUSPECT.search(body) is not None:
        edits.append(_drop_sealed)
        if capabilities.system_role == "system":
            edits.append(_rename_developer)
        if capabilities.first_party and capabilities.reasoning_replay == "none":
            edits.append(_drop_reasoning)
    if capabilities.reasoning_required and b'"tool_calls"' in body:
        edits.append(_require(_name_of_reasoning(capabilities)))
    if capabilities.unsigned_call and b'"tool_calls"' in body:
        edits.append(_sign(capabilities.unsigned_call))
    if edits:
        fields["messages"] = _edit_messages(fields["messages"], edits)


def _edit_messages(messages: msgspec.Raw, edits: Sequence[_Edit]) -> msgspec.Raw:
    """The messages after all edits; the very same object if none had anything to do."""
    try:
        raws: list[Any] = list_decoder.decode(messages)
        changed = False
        for index, raw in enumerate(raws):
            fields = fields_decoder.decode(raw)
            if True in [edit(fields) for edit in edits]:
                raws[index], changed = fields, True
    except msgspec.DecodeError:
        return messages  # the upstream will say what is wrong with them
    return msgspec.Raw(msgspec.json.encode(raws)) if changed else messages


def _rename_developer(fields: Fields) -> bool:
    if _role(fields) != b'"developer"':
        return False
    fields["role"] = msgspec.Raw(b'"system"')
    return True


def _drop_sealed(fields: Fields) -> bool:
    """Take out proofs of other dialects, which mean nothing to any server of this one."""
    changed = False
    for name in reasoning.FIELDS.values():
        entries = reasoning.entries_of(fields[name]) if name in fields else []
        kept = [entry for entry in entries if not reasoning.is_ours(entry)]
        if len(kept) < len(entries):
            changed = True
            if kept:
                fields[name] = msgspec.Raw(msgspec.json.encode(kept))
            else:
                del fields[name]
    return changed


def _drop_reasoning(fields: Fields) -> bool:
    """OpenAI itself refuses fields of messages that it does not know."""
    if _role(fields) != b'"assistant"':
        return False
    found = [name for name in REASONING_KEYS if fields.pop(name, None) is not None]
    return bool(found)


def _name_of_reasoning(capabilities: Capabilities) -> str:
    return "reasoning" if capabilities.reasoning_replay == "reasoning" else "reasoning_content"


def _require(wanted: str) -> _Edit:
    """Give calls without it an empty reasoning field, without which DeepSeek and others refuse the history."""

    def add(fields: Fields) -> bool:
        if _role(fields) != b'"assistant"' or not _is_set(fields, "tool_calls", unlike=b"[]"):
            return False
        if _is_set(fields, wanted):
            return False
        known = next((name for name in ("reasoning_content", "reasoning") if _is_set(fields, name)), None)
        fields[wanted] = fields[known] if known is not None else msgspec.Raw(b'""')
        return True

    return add


def _sign(extra_content: dict[str, Any]) -> _Edit:
    """Give the first of some calls that lost its proof what stands for one: without it Gemini refuses the history."""

    def add(fields: Fields) -> bool:
        if _role(fields) != b'"assistant"' or not _is_set(fields, "tool_calls", unlike=b"[]"):
            return False
        first, *others = list_decoder.decode(fields["tool_calls"])
        call = fields_decoder.decode(first)
        if _is_set(call, "extra_content"):
            return False
        signed = {**call, "extra_content": extra_content}
        fields["tool_calls"] = msgspec.Raw(encode_body([signed, *others]))
        return True

    return add


def _role(fields: Fields) -> bytes:
    return bytes(fields["role"]) if "role" in fields else b""


def _is_set(fields: Fields, name: str, unlike: bytes = b"null") -> bool:
    return name in fields and bytes(memoryview(fields[name])[:8]) not in (b"null", unlike)


def _is_above(raw: msgspec.Raw, limit: float) -> bool:
    try:
        value = _any.decode(raw)
    except msgspec.DecodeError:
        return False
    return isinstance(value, int | float) and value > limit
