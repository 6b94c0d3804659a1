"""Parses Anthropic Messages requests."""

from __future__ import annotations

import contextlib
from collections.abc import Mapping, Sequence
from functools import partial
from operator import attrgetter
from typing import Any, TypeVar

import msgspec

from app.conversation.blocks import CacheHint, Text
from app.conversation.repeated_tools import read_repeated
from app.conversation.request import (
    UNKNOWN_FIELD,
    Extension,
    FieldLoss,
    OutputFormat,
    ReasoningSettings,
    Request,
    Role,
    Sampling,
    Tool,
    ToolChoice,
    Turn,
)
from app.dialects.anthropic_messages.content.blocks import Content, NoteField, is_absent, read_blocks
from app.dialects.anthropic_messages.content.tool_changes import apply_tool_changes
from app.dialects.anthropic_messages.content.tools import read_tool_choice, read_tools
from app.dialects.anthropic_messages.reasoning import optional_text, read_reasoning, take_field
from app.dialects.anthropic_messages.vocabulary import (
    ASKED_TIERS,
    FIELD_LOSSES,
    NAME,
    USUAL_FIELDS,
    PlainRequest,
    UsualRequest,
    WireCache,
    WireTurn,
)
from app.dialects.foreign.marks import BESIDE_CONTENT
from app.dialects.foreign.requests import check_fields, read_mended
from app.dialects.json_bodies import check_text, is_set, read_body, read_value, repair_surrogates
from app.dialects.tool_schemas import mend_schemas
from app.errors import InvalidRequest
from app.json_values import (
    UNREADABLE,
    Fields,
    any_decoder,
    decode_or_none,
    fields_decoder,
    list_decoder,
    text_decoder,
)

T = TypeVar("T")

_ROLES: tuple[Role, ...] = ("user", "assistant", "system")

_flag = msgspec.json.Decoder(bool | None)
_number = msgspec.json.Decoder(float | None)
_integer = msgspec.json.Decoder(int | None)
_texts = msgspec.json.Decoder(list[str] | None)
_object = msgspec.json.Decoder(dict[str, Any] | None)
_objects = msgspec.json.Decoder(list[dict[str, Any]] | None)
_cache = msgspec.json.Decoder(WireCache | None)
_plain_request = msgspec.json.Decoder(PlainRequest)
_usual_request: msgspec.json.Decoder[Any] = msgspec.json.Decoder(UsualRequest)
# Fields of a plain request that are still raw.
_RAW_FIELDS = ("tools", "tool_choice", "thinking", "output_config", "context_management")
_raw_fields_of = attrgetter(*_RAW_FIELDS)
_UNSAMPLED, _SAMPLED_BY_DEFAULT = Sampling(), (None, None, None)
_NO_TOOLS_NOR_THOUGHTS: tuple[
    tuple[Tool, ...], ToolChoice | None, bool | None, ReasoningSettings, OutputFormat | None
] = ((), None, None, ReasoningSettings(), None)
_any_turn = msgspec.json.Decoder(WireTurn)


def parse_request(body: bytes, headers: Mapping[str, str]) -> Request:
    """A client's request to create a message. `headers` have lower-case names.

    Fields without a place in the neutral model become extensions. Raises InvalidRequest, which names the field. Source:
    Anthropic API reference, Messages, versions 2023-06-01 and 2026-10-21.
    """
    request = parse_count_request(body, headers)
    if request.max_tokens is None:
        raise InvalidRequest("max_tokens number is required", param="max_tokens")
    return request


def parse_count_request(body: bytes, headers: Mapping[str, str]) -> Request:
    """A client's request to count tokens: the same fields, but those about the answer are optional."""
    return parse_plain(body, headers) or parse_any(body, headers)


def parse_plain(body: bytes, headers: Mapping[str, str]) -> Request | None:
    """The request in a body with nothing unusual in it; None for any other, which `parse_any` reads field by field to
    report exactly what is wrong."""
    try:
        plain = _plain_request.decode(body)
        check_text(body)
        raws = _raw_fields_of(plain)
        fields = {name: raw for name, raw in zip(_RAW_FIELDS, raws, strict=True) if len(raw)} if any(raws) else {}
        return _Reader(fields, plain.messages, headers).plain_request(plain)
    except (*UNREADABLE, InvalidRequest):
        return None


def parse_any(body: bytes, headers: Mapping[str, str]) -> Request:
    """The same request, read field by field, also in the shapes of other dialects."""
    return read_mended(body, "messages", partial(_parse, headers=headers))


def _parse(body: bytes, headers: Mapping[str, str]) -> Request:
    try:
        return _Reader(*_open(body), headers).request()
    except InvalidRequest:
        repaired = repair_surrogates(body)
        if repaired == body:
            raise
        return _Reader(*_open(repaired), headers).request()


def _open(body: bytes) -> tuple[Fields, Sequence[WireTurn] | None]:
    """The fields of a body, and its turns if they could be decoded at once."""
    with contextlib.suppress(*UNREADABLE):
        usual = _usual_request.decode(body)
        check_text(body)
        return {name: raw for name in USUAL_FIELDS if len(raw := getattr(usual, name))}, usual.messages
    fields = read_body(body)
    check_fields(fields, "messages")
    return fields, None


class _Reader:
    """Reads one body; removes each field as it is read, so only unknown fields remain."""

    def __init__(self, fields: Fields, turns: Sequence[WireTurn] | None, headers: Mapping[str, str]) -> None:
        self._fields = fields
        self._decoded = turns
        self._headers = headers
        self._extensions: list[Extension] = []

    def request(self) -> Request:
        model = self._need("model", text_decoder, "model string is required")
        tools, turns = self._tools_and_turns()
        sampling = self._sampling()
        choice, parallel = self._tool_choice()
        reasoning, output_format = read_reasoning(self._fields, self._note)
        metadata = self._take("metadata", _object)
        tier = self._take("service_tier", optional_text)
        max_tokens = self._take("max_tokens", _integer)
        if max_tokens is not None and max_tokens < 0:
            raise InvalidRequest("max_tokens must be a non-negative number", param="max_tokens")
        stream = bool(self._take("stream", _flag))
        request = Request(
            dialect=NAME,
            model=model,
            instructions=self._instructions(),
            turns=turns,
            tools=tools,
            tool_choice=choice,
            parallel_tool_calls=parallel,
            reasoning=reasoning,
            sampling=sampling,
            max_tokens=max_tokens,
            stop=tuple(self._take("stop_sequences", _texts) or ()),
            compact=_wants_summary(self._fields.get("compaction")),
            stream=stream,
            include_usage=stream,
            betas=_split_betas(self._headers.get("anthropic-beta", "")),
        )
        request = _with_hints(request, output_format, tier, metadata, self._take("cache_control", _cache))
        return msgspec.structs.replace(request, extensions=self._remaining_extensions())

    def plain_request(self, plain: PlainRequest) -> Request:
        """As `request`, from fields already decoded, except for those that most requests lack. Plain blocks change no
        tools."""
        tools, choice, parallel, reasoning, output_format = _NO_TOOLS_NOR_THOUGHTS
        if self._fields:
            tools = self._tools()
            choice, parallel = self._tool_choice()
            reasoning, output_format = read_reasoning(self._fields, self._note)
        sampled = (plain.temperature, plain.top_p, plain.top_k)
        request = Request(
            dialect=NAME,
            model=plain.model,
            instructions=_read_instructions(plain.system, self._note),
            turns=self._turns(),
            tools=tools,
            tool_choice=choice,
            parallel_tool_calls=parallel,
            reasoning=reasoning,
            sampling=_UNSAMPLED if sampled == _SAMPLED_BY_DEFAULT else Sampling(*sampled),
            max_tokens=plain.max_tokens,
            stop=tuple(plain.stop_sequences or ()),
            stream=bool(plain.stream),
            include_usage=bool(plain.stream),
            betas=_split_betas(self._headers["anthropic-beta"]) if "anthropic-beta" in self._headers else (),
            extensions=self._remaining_extensions() if self._fields or self._extensions else (),
        )
        tier, metadata, cache = plain.service_tier, plain.metadata, plain.cache_control
        if output_format is None and tier is None and metadata is None and cache is None:
            return request
        return _with_hints(request, output_format, tier, metadata, cache)

    def _take(self, name: str, decoder: msgspec.json.Decoder[T]) -> T | None:
        return take_field(self._fields, name, decoder) if name in self._fields else None

    def _need(self, name: str, decoder: msgspec.json.Decoder[T], message: str) -> T:
        try:
            value = self._take(name, decoder)
        except InvalidRequest as error:
            raise InvalidRequest(message, param=name) from error
        if value is None or value == "":
            raise InvalidRequest(message, param=name)
        return value

    def _note(self, name: str, raw: msgspec.Raw) -> None:
        """Keeps a field that has no place in the neutral model; its last name, or its full name at the top level,
        decides its loss."""
        value = read_value(raw, any_decoder, name)
        lost = FIELD_LOSSES.get(name) or FIELD_LOSSES.get(name.rpartition("]")[2][1:], UNKNOWN_FIELD)
        if name == "context_management" and not _edits_matter(value):
            lost = FieldLoss("ignorable", "the model never sees old thinking, so clearing it makes no difference")
        elif name == "compaction" and _wants_summary(raw):
            lost = FieldLoss("ignorable", "the upstream is asked for a summary as text")
        self._extensions.append(lost.of(NAME, name, value))

    def _instructions(self) -> tuple[Text, ...]:
        return _read_instructions(self._fields.pop("system", None), self._note)

    def _tools(self) -> tuple[Tool, ...]:
        raw = self._fields.pop("tools", None)
        if raw is None:
            return ()
        return read_repeated(raw, NAME, lambda: mend_schemas(read_tools(read_value(raw, _objects, "tools") or []), raw))

    def _tools_and_turns(self) -> tuple[tuple[Tool, ...], tuple[Turn, ...]]:
        parsed = self._turns()
        tools, turns = apply_tool_changes(self._tools(), parsed)
        for before, after in zip(parsed, turns, strict=True):
            if len(after.blocks) < len(before.blocks):
                self._extensions.append(
                    Extension(NAME, before.path, None, "degrading", "its change of tools applies from the start")
                )
        return tools, turns

    def _turns(self) -> tuple[Turn, ...]:
        turns = self._decoded
        if turns is None:
            messages = self._need("messages", list_decoder, "messages array is required")
            turns = [_decode_turn(raw, f"messages[{index}]", self._note) for index, raw in enumerate(messages)]
        self._fields.pop("messages", None)
        if not turns:
            raise InvalidRequest("messages array cannot be empty", param="messages")
        return tuple([_read_turn(turn, f"messages[{index}]", self._note) for index, turn in enumerate(turns)])

    def _sampling(self) -> Sampling:
        temperature = self._ranged("temperature", "temperature must be a number between 0 and 1")
        top_p = self._ranged("top_p", "top_p must be a number between 0 and 1")
        top_k = self._take("top_k", _integer)
        if top_k is not None and top_k < 0:
            raise InvalidRequest("top_k must be a non-negative number", param="top_k")
        return Sampling(temperature=temperature, top_p=top_p, top_k=top_k)

    def _ranged(self, name: str, message: str) -> float | None:
        try:
            value = self._take(name, _number)
        except InvalidRequest as error:
            raise InvalidRequest(message, param=name) from error
        if value is not None and not 0 <= value <= 1:
            raise InvalidRequest(message, param=name)
        return value

    def _tool_choice(self) -> tuple[ToolChoice | None, bool | None]:
        choice = self._take("tool_choice", any_decoder)
        if choice is None:
            return None, None
        serial = choice.get("disable_parallel_tool_use") if isinstance(choice, dict) else None
        return read_tool_choice(choice), None if serial is None else not serial

    def _remaining_extensions(self) -> tuple[Extension, ...]:
        for name, raw in self._fields.items():
            if bytes(raw) != b"null":
                self._note(name, raw)
        return tuple(self._extensions)


def _with_hints(
    request: Request,
    output_format: OutputFormat | None,
    tier: str | None,
    metadata: dict[str, Any] | None,
    cache: WireCache | None,
) -> Request:
    """The request with the settings that most lack."""
    others = dict(metadata or {})
    user = others.pop("user_id", None)
    return msgspec.structs.replace(
        request,
        output_format=output_format,
        user=user if isinstance(user, str) else None,
        cache=None if cache is None else CacheHint(cache.ttl),
        service_tier=ASKED_TIERS.get(tier, tier) if tier else None,
        metadata=others or None,
    )


def _read_instructions(system: Content, note: NoteField) -> tuple[Text, ...]:
    if type(system) is str:
        return (Text(system),) if system else ()
    blocks = read_blocks(system, "system", note)
    for index, block in enumerate(blocks):
        if not isinstance(block, Text):
            raise InvalidRequest(f"system[{index}].type: only text is allowed here", param=f"system[{index}].type")
    return tuple(blocks)  # type: ignore[arg-type]


def _decode_turn(raw: msgspec.Raw, path: str, note: NoteField) -> WireTurn:
    """One message of a list in which something is odd."""
    turn = read_value(raw, _any_turn, path)
    for name, value in read_value(raw, fields_decoder, path).items():
        if name in BESIDE_CONTENT and is_set(value):
            raise InvalidRequest(f"{path}.{name}: put it into content", param=f"{path}.{name}")
        if name not in WireTurn.__struct_fields__ and bytes(value) != b"[]":
            note(f"{path}.{name}", value)
    return turn


def _read_turn(turn: WireTurn, path: str, note: NoteField) -> Turn:
    content: Content = turn.content
    if turn.role not in _ROLES:
        raise InvalidRequest(f"{path}.role: must be user, assistant or system", param=f"{path}.role")
    if type(content) is msgspec.Raw and is_absent(content):
        raise InvalidRequest(f"{path}.content: field required", param=f"{path}.content")
    blocks = (Text(content),) if type(content) is str and content else read_blocks(content, f"{path}.content", note)
    effort = None
    if config := turn.output_config:
        effort = take_field(config, f"{path}.output_config.effort", optional_text)
        for name, value in config.items():
            note(f"{path}.output_config.{name}", value)
    return Turn(role=turn.role, blocks=blocks, effort=effort, clear_at=turn.clear_at, path=path)


def _split_betas(header: str) -> tuple[str, ...]:
    return tuple(name for part in header.split(",") if (name := part.strip()))


def _wants_summary(raw: msgspec.Raw | None) -> bool:
    """Whether a request is for a compaction, which nothing else can answer."""
    match decode_or_none(raw, any_decoder) if raw is not None else None:
        case {"type": "summarize"}:
            return True
        case _:
            return False


def _edits_matter(value: Any) -> bool:
    """Whether a `context_management` does more than drop old thinking, which no other model sees."""
    match value:
        case {"edits": [*edits]}:
            return any(not isinstance(e, dict) or not str(e.get("type")).startswith("clear_thinking") for e in edits)
        case _:
            return bool(value)
