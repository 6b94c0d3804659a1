"""Parses Chat Completions requests, and makes one for several answers ask for one."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

import msgspec

from app.conversation.blocks import Opaque
from app.conversation.repeated_tools import read_repeated
from app.conversation.request import (
    EFFORT_NAMES,
    UNKNOWN_FIELD,
    Effort,
    Extension,
    OutputFormat,
    ReasoningSettings,
    Request,
    Sampling,
    State,
    Tool,
    ToolChoice,
)
from app.dialects.foreign.requests import check_fields, read_mended
from app.dialects.json_bodies import check_text, encode_body, read_body, read_value, repair_surrogates
from app.dialects.openai_chat.messages.messages import MessageReader
from app.dialects.openai_chat.messages.tools import read_hint, read_tool_choice, read_tools
from app.dialects.openai_chat.vocabulary import (
    FIELD_LOSSES,
    MAX_CHOICES,
    MESSAGE_LOSSES,
    NAME,
    PlainRequest,
    WireMessage,
)
from app.dialects.openai_responses.items.input_parser import Input
from app.dialects.tool_schemas import mend_schemas
from app.errors import InvalidRequest
from app.json_values import UNREADABLE, Fields, any_decoder, decode_or_none, object_decoder, text_decoder

T = TypeVar("T")

_bool = msgspec.json.Decoder(bool)
_number = msgspec.json.Decoder(int | float)
_integer = msgspec.json.Decoder(int)
_strings = msgspec.json.Decoder(str | list[str])
_biases = msgspec.json.Decoder(dict[str, float])

_plain_request = msgspec.json.Decoder(PlainRequest)
# Fields of a plain request that are still raw.
_RAW_FIELDS = ("tools", "tool_choice", "response_format")
_UNSAID, _STATELESS = ReasoningSettings(), State()
_UNSAMPLED, _SAMPLED_BY_DEFAULT = Sampling(), (None,) * 6
_NO_ITEMS = Input(msgspec.Raw(b"null"))


def parse_request(body: bytes, headers: Mapping[str, str]) -> Request:
    """The request in a body. Raises InvalidRequest, naming the field and what it should be."""
    return parse_plain(body, headers) or parse_any(body, headers)


def parse_plain(body: bytes, headers: Mapping[str, str]) -> Request | None:
    """The request in a body with nothing unusual in it; None for any other, which `parse_any` reads field by field to
    report exactly what is wrong."""
    try:
        plain = _plain_request.decode(body)
        check_text(body)
        return _read_plain(plain)
    except (*UNREADABLE, InvalidRequest):
        return None


def _read_plain(plain: PlainRequest) -> Request | None:
    effort = "auto" if plain.reasoning_effort is None else plain.reasoning_effort.lower() or "auto"
    if effort not in EFFORT_NAMES:
        return None
    taker = _Taker({name: raw for name in _RAW_FIELDS if len(raw := getattr(plain, name))})
    reader = MessageReader(_refuse_to_note)
    for index, message in enumerate(plain.messages):
        reader.add(message, f"messages[{index}]")
    if not reader.turns and not reader.instructions:
        return None
    tools = taker.raw("tools")
    sampled = (
        plain.temperature, plain.top_p, plain.top_k, plain.frequency_penalty, plain.presence_penalty, plain.seed
    )  # fmt: skip
    stop = plain.stop
    request = Request(
        dialect=NAME,
        model=plain.model,
        turns=tuple(reader.turns),
        instructions=tuple(reader.instructions),
        tools=_read_tools(tools, None) if tools is not None else (),
        tool_choice=_read_choice(taker) if len(plain.tool_choice) else None,
        parallel_tool_calls=plain.parallel_tool_calls,
        reasoning=_UNSAID if effort == "auto" else _reason_by_effort(EFFORT_NAMES[effort]),
        sampling=_UNSAMPLED if sampled == _SAMPLED_BY_DEFAULT else Sampling(*sampled),
        max_tokens=plain.max_completion_tokens or plain.max_tokens,
        stop=() if not stop else (stop,) if isinstance(stop, str) else tuple(stop),
        stream=bool(plain.stream),
        include_usage=plain.stream_options is not None and plain.stream_options.include_usage,
    )
    return request if _rare_fields_of(plain) == _NOTHING_RARE else _add_rare_fields(request, plain, taker)


def _refuse_to_note(path: str, value: msgspec.Raw) -> None:
    """A plain request has no fields to note."""
    raise InvalidRequest(f"{path} is not plain", param=path)


def _add_rare_fields(request: Request, plain: PlainRequest, taker: _Taker) -> Request:
    counted = plain.top_logprobs or 0
    return msgspec.structs.replace(
        request,
        output_format=_read_format(taker) if len(plain.response_format) else None,
        verbosity=plain.verbosity,
        n=plain.n or 1,
        logprobs=counted if plain.logprobs or counted else None,
        user=plain.user,
        cache_key=plain.prompt_cache_key,
        service_tier=plain.service_tier,
        metadata=plain.metadata,
        state=_STATELESS if plain.store is None else State(store=plain.store),
    )


def parse_any(body: bytes, headers: Mapping[str, str]) -> Request:
    """The same request, read field by field, also in the shapes of other dialects."""
    return read_mended(body, "chat", _parse)


def _parse(body: bytes) -> Request:
    fields = _read_fields(body)
    check_fields(fields, "chat")
    taker = _Taker(fields)
    reader = MessageReader(taker.note)
    given = _read_conversation(taker, reader)
    stream_options = taker.take("stream_options", object_decoder) or {}
    legacy = taker.raw("functions")
    tools = taker.raw("tools")
    request = Request(
        dialect=NAME,
        model=_read_model(taker),
        turns=tuple(reader.turns),
        instructions=tuple(reader.instructions),
        tools=given.join_tools(_read_tools(tools, legacy)),
        tool_choice=_read_choice(taker),
        parallel_tool_calls=taker.take("parallel_tool_calls", _bool),
        reasoning=_read_reasoning(taker),
        sampling=_read_sampling(taker),
        max_tokens=_read_max_tokens(taker),
        stop=_read_stop(taker),
        output_format=_read_format(taker),
        verbosity=taker.take("verbosity", text_decoder),
        n=_read_n(taker),
        logprobs=_read_logprobs(taker),
        user=_read_user(taker),
        cache=read_hint(taker.take("cache_control", any_decoder)),
        cache_key=taker.take("prompt_cache_key", text_decoder),
        service_tier=taker.take("service_tier", text_decoder),
        metadata=taker.take("metadata", object_decoder),
        state=State(store=taker.take("store", _bool)),
        compact=given.compact,
        stream=taker.take("stream", _bool) or False,
        include_usage=stream_options.pop("include_usage", False) is True,
    )
    if stream_options:
        taker.keep("stream_options", stream_options)
    if legacy is not None and tools is None:
        taker.keep("functions", True)
    if given.format is not None:
        taker.keep("text.format", msgspec.to_builtins(given.format))
    return msgspec.structs.replace(request, extensions=(*taker.rest(), *given.extensions))


def ask_single(body: bytes) -> bytes:
    """The request changed to ask for one whole answer. Raises InvalidRequest."""
    return encode_body({name: raw for name, raw in read_body(body).items() if name != "n"})


def _read_tools(tools: msgspec.Raw | None, legacy: msgspec.Raw | None) -> tuple[Tool, ...]:
    if tools is not None:
        return read_repeated(tools, NAME, lambda: mend_schemas(read_tools(tools), tools))
    return mend_schemas(read_tools(legacy, "functions"), legacy) if legacy is not None else ()


class _Taker:
    """Removes known fields from a body, so only fields without a place in the neutral model remain."""

    def __init__(self, fields: Fields) -> None:
        self._fields = fields
        self._extensions: list[Extension] = []

    def raw(self, name: str) -> msgspec.Raw | None:
        """The field as received; None if absent or null."""
        value = self._fields.pop(name, None)
        return value if value is not None and bytes(memoryview(value)[:4]) != b"null" else None

    def take(self, name: str, decoder: msgspec.json.Decoder[T]) -> T | None:
        value = self.raw(name)
        return read_value(value, decoder, name) if value is not None else None

    def read(self, name: str) -> Any:
        """A field that stays an extension."""
        return decode_or_none(self._fields[name], any_decoder) if name in self._fields else None

    def number(self, name: str, low: float, high: float) -> float | None:
        """A number within limits; whole numbers stay whole."""
        value = self.raw(name)
        if value is None:
            return None
        try:
            number: float = _number.decode(value)
        except msgspec.DecodeError:
            number = float("nan")
        if not low <= number <= high:
            raise InvalidRequest(f"{name} must be a number between {low:g} and {high:g}", param=name)
        return number

    def note(self, path: str, value: msgspec.Raw) -> None:
        """Keeps a field from inside a message."""
        self.keep(path, read_value(value, any_decoder, path))

    def keep(self, name: str, value: Any) -> None:
        lost = FIELD_LOSSES.get(name) or MESSAGE_LOSSES.get(name.rpartition("]")[2], UNKNOWN_FIELD)
        self._extensions.append(lost.of(NAME, name, value))

    def rest(self) -> tuple[Extension, ...]:
        for name in list(self._fields):
            if (value := self.raw(name)) is not None:
                self.keep(name, read_value(value, any_decoder, name))
        return tuple(self._extensions)


def _read_fields(body: bytes) -> Fields:
    try:
        return read_body(body)
    except InvalidRequest:
        repaired = repair_surrogates(body)
        if repaired == body:
            raise
        return read_body(repaired)


def _read_conversation(taker: _Taker, reader: MessageReader) -> Input:
    """Reads the messages; or what comes in place of them, the items of Responses, which Cursor sends."""
    given = _NO_ITEMS
    messages, items, system = taker.raw("messages"), taker.raw("input"), taker.raw("system")
    if system is not None:  # the form of Messages
        reader.add(WireMessage(role="system", content=system), "system")
    if (instructions := taker.raw("instructions")) is not None:  # the form of Responses
        reader.add(WireMessage(role="system", content=instructions), "instructions")
    if messages is not None:
        if not bytes(messages).startswith(b"["):
            raise InvalidRequest("messages must be an array", param="messages")
        reader.read(messages)
    elif items is not None:
        given = read_mended(encode_body({"input": items}), "items", lambda body: Input(read_body(body)["input"]))
        _check_references(given)
        reader.instructions += given.instructions
        reader.turns += given.turns
    else:
        raise InvalidRequest("messages array is required", param="messages")
    if not reader.turns and not reader.instructions:
        raise InvalidRequest("messages array cannot be empty", param="messages")
    return given


def _check_references(given: Input) -> None:
    for turn in given.turns:
        if any(isinstance(block, Opaque) and block.type == "item_reference" for block in turn.blocks):
            raise InvalidRequest(
                f"{turn.path}: this upstream stores no items for an item_reference; send the item itself",
                param=turn.path,
            )


def _read_model(taker: _Taker) -> str:
    raw = taker.raw("model")
    if raw is None or not bytes(raw).startswith(b'"') or not (model := read_value(raw, text_decoder, "model")):
        raise InvalidRequest("model string is required", param="model")
    return model


def _read_choice(taker: _Taker) -> ToolChoice | None:
    choice, legacy = taker.raw("tool_choice"), taker.raw("function_call")
    if choice is not None:
        return read_tool_choice(choice)
    return read_tool_choice(legacy, "function_call") if legacy is not None else None


def _read_reasoning(taker: _Taker) -> ReasoningSettings:
    """The vendor's `reasoning_effort`, or other servers' fields for it, the most common first."""
    asked: Any = taker.take("reasoning_effort", text_decoder)
    budget: int | None = taker.take("thinking_budget", _integer)
    mode: Any = None
    visibility = None
    match taker.read("chat_template_kwargs"):
        case {"enable_thinking": bool(thinks)} | {"thinking": bool(thinks)}:  # vLLM, SGLang; stays for them
            mode = "on" if thinks else "off"
    match taker.take("enable_thinking", _bool):
        case True:
            mode = "on"
        case False:
            mode = "off"
    match taker.take("thinking", any_decoder):
        case {"type": "disabled"} | False:
            mode = "off"
        case {"type": "enabled" | "adaptive", **rest}:
            mode, budget = "on", _whole(rest.get("budget_tokens"), budget)
        case True:
            mode = "on"
    match taker.take("reasoning", any_decoder):
        case {**settings}:
            asked = asked or settings.get("effort")
            budget = _whole(settings.get("max_tokens"), budget)
            if settings.get("enabled") is not None:
                mode = "on" if settings["enabled"] else "off"
            summary = settings.get("summary")
            visibility = "omitted" if settings.get("exclude") is True else summary if isinstance(summary, str) else None
    name = str(asked or "auto").lower()
    effort, unknown = EFFORT_NAMES.get(name), name not in EFFORT_NAMES
    if unknown:  # new names appear every year
        taker.keep("reasoning_effort", asked)
    if effort == "none":
        mode = "off"
    elif mode is None and (effort is not None or unknown or budget is not None):
        mode = "on"
    return ReasoningSettings(mode, effort, budget, visibility)


def _reason_by_effort(effort: Effort | None) -> ReasoningSettings:
    return ReasoningSettings("off" if effort == "none" else None if effort is None else "on", effort)


def _whole(value: object, otherwise: int | None) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else otherwise


def _read_sampling(taker: _Taker) -> Sampling:
    return Sampling(
        temperature=taker.number("temperature", 0, 2),
        top_p=taker.number("top_p", 0, 1),
        top_k=taker.take("top_k", _integer),
        frequency_penalty=taker.number("frequency_penalty", -2, 2),
        presence_penalty=taker.number("presence_penalty", -2, 2),
        seed=taker.take("seed", _integer),
        logit_bias=taker.take("logit_bias", _biases),
    )


def _read_max_tokens(taker: _Taker) -> int | None:
    """The newer name takes precedence; -1 is how some local servers spell "no limit"."""
    limits = []
    for name in ("max_completion_tokens", "max_tokens", "max_output_tokens"):
        raw = taker.raw(name)
        if raw is None:
            continue
        try:
            limit = int(_number.decode(raw))
        except (msgspec.DecodeError, OverflowError, ValueError) as error:
            raise InvalidRequest(f"{name} must be a number", param=name) from error
        if limit == 0 or limit < -1:
            raise InvalidRequest(f"{name} must be at least 1", param=name)
        limits.append(limit)
    return limits[0] if limits and limits[0] > 0 else None


def _read_stop(taker: _Taker) -> tuple[str, ...]:
    sequences = taker.take("stop_sequences", _strings)  # the form of Messages
    stop = taker.take("stop", _strings) or sequences
    if stop is None:
        return ()
    return (stop,) if isinstance(stop, str) else tuple(stop)


def _read_format(taker: _Taker) -> OutputFormat | None:
    wanted = taker.take("response_format", any_decoder)
    match wanted:
        case None:
            return None
        case {"type": "json_object", "schema": {} as schema} if schema:  # Together, Fireworks, llama.cpp
            return OutputFormat("json_schema", schema)
        case {"type": "text" | "json_object" as kind}:
            return OutputFormat(kind)
        case {"type": "json_schema", "json_schema": {**outer}}:
            schema, strict, about = outer.get("schema"), outer.get("strict"), outer.get("description")
            return OutputFormat(
                "json_schema",
                schema if isinstance(schema, dict) else None,
                str(outer["name"]) if "name" in outer else None,
                about if isinstance(about, str) else None,
                strict if isinstance(strict, bool) else None,
            )
        case _:
            raise InvalidRequest(
                "response_format.type must be text, json_object or json_schema (with a json_schema beside it)",
                param="response_format",
            )


def _read_n(taker: _Taker) -> int:
    raw = taker.raw("n")
    if raw is None:
        return 1
    try:
        n = _integer.decode(raw)
    except msgspec.DecodeError:
        n = 0
    if not 1 <= n <= MAX_CHOICES:
        raise InvalidRequest(f"n must be a positive integer up to {MAX_CHOICES}", param="n")
    return n


def _read_logprobs(taker: _Taker) -> int | None:
    """The number of alternatives per token; 0 means only the token's own probability."""
    wanted, count = taker.take("logprobs", _bool), taker.take("top_logprobs", _integer)
    return (count or 0) if wanted or count else None


def _read_user(taker: _Taker) -> str | None:
    """`safety_identifier`, which replaces `user`; if a client sends both, the old one is kept as an extension."""
    new, old = taker.take("safety_identifier", text_decoder), taker.take("user", text_decoder)
    if new is not None and old is not None:
        taker.keep("user", old)
    return new if new is not None else old


def _rare_fields_of(plain: PlainRequest) -> tuple[object, ...]:
    """Fields that most requests lack."""
    return (
        plain.response_format,
        plain.verbosity,
        plain.n,
        plain.logprobs,
        plain.top_logprobs,
        plain.user,
        plain.prompt_cache_key,
        plain.service_tier,
        plain.metadata,
        plain.store,
    )


_NOTHING_RARE = _rare_fields_of(PlainRequest(model="", messages=[]))
