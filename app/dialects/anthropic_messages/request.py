"""A request of Anthropic Messages, parsed from a client and rendered for an upstream."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar, cast

import msgspec

from app.conversation.blocks import CacheHint, Text
from app.conversation.capabilities import Capabilities
from app.conversation.losses import Loss, Severity
from app.conversation.request import (
    Extension,
    Request,
    Role,
    Sampling,
    Tool,
    ToolChoice,
    Turn,
)
from app.dialects.anthropic_messages.blocks import BlockWriter, NoteField, is_absent, read_blocks, write_cache
from app.dialects.anthropic_messages.reasoning import optional_text, read_reasoning, take_field, write_reasoning
from app.dialects.anthropic_messages.tool_changes import apply_tool_changes
from app.dialects.anthropic_messages.tools import read_tools, write_tool_choice, write_tools
from app.dialects.anthropic_messages.vocabulary import (
    ADVISOR_BETA,
    ASKED_TIERS,
    CLEAR_AT_BETA,
    COMPACT_EDIT_BETA,
    DEFAULT_MAX_TOKENS,
    FIELD_BETAS,
    FIELD_LOSSES,
    MCP_TOOLSET_BETA,
    NAME,
    TIERS_TO_ASK,
    TOLERANT_VERSION,
    TURN_EFFORT_BETA,
    UNLISTED_LOSS,
    UPDATES_BETA,
    VERSION,
    KnownTurn,
    WireCache,
    WireTurn,
)
from app.dialects.contract import RenderedRequest
from app.dialects.json_bodies import (
    Fields,
    encode_body,
    fields_decoder,
    list_decoder,
    read_body,
    read_value,
    repair_surrogates,
)
from app.dialects.tool_schemas import mend_schemas
from app.errors import InvalidRequest

T = TypeVar("T")

_ROLES: tuple[Role, ...] = ("user", "assistant", "system")

_text = msgspec.json.Decoder(str)
_flag = msgspec.json.Decoder(bool | None)
_number = msgspec.json.Decoder(float | None)
_integer = msgspec.json.Decoder(int | None)
_texts = msgspec.json.Decoder(list[str] | None)
_object = msgspec.json.Decoder(dict[str, Any] | None)
_objects = msgspec.json.Decoder(list[dict[str, Any]] | None)
_cache = msgspec.json.Decoder(WireCache | None)
_any = msgspec.json.Decoder(Any)
_known_turn = msgspec.json.Decoder(KnownTurn)
_any_turn = msgspec.json.Decoder(WireTurn)


def parse_request(body: bytes, headers: Mapping[str, str]) -> Request:
    """A client's request to create a message. `headers` have lower-case names.

    Fields without a place in the neutral model become extras. Raises InvalidRequest, which names the field.
    Source: Anthropic API reference, Messages, versions 2023-06-01 and 2026-10-21.
    """
    request = parse_count_request(body, headers)
    if request.max_tokens is None:
        raise InvalidRequest("max_tokens number is required", param="max_tokens")
    return request


def parse_count_request(body: bytes, headers: Mapping[str, str]) -> Request:
    """A client's request to count tokens: the same fields, but none for the answer is required."""
    try:
        return _Reader(read_body(body), headers).request()
    except InvalidRequest:
        repaired = repair_surrogates(body)
        if repaired == body:
            raise
        return _Reader(read_body(repaired), headers).request()


def render_request(request: Request, capabilities: Capabilities) -> RenderedRequest:
    """The body for an upstream of this dialect, the headers that this body needs, and what could not be said.

    Relies on the adaptation before it: results follow their calls, reasoning settings suit the model, names are legal.
    """
    losses: list[Loss] = []
    betas: list[str] = list(request.betas) if request.dialect == NAME else []
    cached = capabilities.cache_hints == "cache_control"
    body: dict[str, Any] = {
        "model": capabilities.model or request.model,
        "max_tokens": _max_tokens(request, capabilities),
    }
    if request.instructions:
        writer = BlockWriter(_loser(losses, "system"), cached=cached)
        body["system"] = writer.blocks(request.instructions)
    body["messages"] = _write_turns(request, capabilities, losses, betas)
    if tools := write_tools(request.tools, losses, cached=cached, own=request.dialect == NAME):
        body["tools"] = tools
        if choice := write_tool_choice(request, losses):
            body["tool_choice"] = choice
    body |= write_reasoning(request, capabilities, losses)
    body |= _write_settings(request, capabilities, losses)
    _restore_extensions(body, request, losses, first_party=capabilities.first_party)
    body |= capabilities.extra_body
    for name in capabilities.refused_fields:
        if name in body:
            del body[name]
            losses.append(Loss("ignorable", name, "the upstream refuses this field"))
    headers = {"anthropic-version": _version(body, capabilities)}
    if betas := list(dict.fromkeys([*betas, *_needed_betas(body)])):
        headers["anthropic-beta"] = ",".join(betas)
    return RenderedRequest(encode_body(body), headers, tuple(losses))


class _Reader:
    """Reads one body; takes each field away as it is read, so that what remains is what nobody knows."""

    def __init__(self, fields: Fields, headers: Mapping[str, str]) -> None:
        self._fields = fields
        self._headers = headers
        self._extensions: list[Extension] = []

    def request(self) -> Request:
        model = self._need("model", _text, "model string is required")
        tools, turns = self._tools_and_turns()
        sampling = self._sampling()
        choice, parallel = self._tool_choice()
        reasoning, output_format = read_reasoning(self._fields, self._note)
        metadata = self._take("metadata", _object) or {}
        user = metadata.pop("user_id", None)
        tier = self._take("service_tier", optional_text)
        max_tokens = self._take("max_tokens", _integer)
        if max_tokens is not None and max_tokens < 0:
            raise InvalidRequest("max_tokens must be a non-negative number", param="max_tokens")
        stream = bool(self._take("stream", _flag))
        return Request(
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
            output_format=output_format,
            user=user if isinstance(user, str) else None,
            cache=self._cache_hint(),
            service_tier=ASKED_TIERS.get(tier, tier) if tier else None,
            metadata=metadata or None,
            stream=stream,
            include_usage=stream,
            betas=_split_betas(self._headers.get("anthropic-beta", "")),
            extensions=self._remaining_extensions(),
        )

    def _take(self, name: str, decoder: msgspec.json.Decoder[T]) -> T | None:
        return take_field(self._fields, name, decoder)

    def _need(self, name: str, decoder: msgspec.json.Decoder[T], message: str) -> T:
        try:
            value = self._take(name, decoder)
        except InvalidRequest as error:
            raise InvalidRequest(message, param=name) from error
        if value is None or value == "":
            raise InvalidRequest(message, param=name)
        return value

    def _note(self, name: str, raw: msgspec.Raw) -> None:
        """Keep a field that has no place; its loss is told by its last name, or by its whole one at the top."""
        value = read_value(raw, _any, name)
        loss, why = FIELD_LOSSES.get(name) or FIELD_LOSSES.get(name.rpartition("]")[2][1:]) or UNLISTED_LOSS
        if name == "context_management" and not _edits_matter(value):
            loss, why = "ignorable", "clearing old thinking does not change the answer of a model that never sees it"
        self._extensions.append(Extension(NAME, name, value, loss, why))

    def _instructions(self) -> tuple[Text, ...]:
        raw = self._fields.pop("system", None)
        if raw is None:
            return ()
        blocks = read_blocks(raw, "system", self._note)
        for index, block in enumerate(blocks):
            if not isinstance(block, Text):
                raise InvalidRequest(f"system[{index}].type: only text is allowed here", param=f"system[{index}].type")
        return cast(tuple[Text, ...], blocks)

    def _tools_and_turns(self) -> tuple[tuple[Tool, ...], tuple[Turn, ...]]:
        said = self._turns()
        raw = self._fields.get("tools")
        declared = mend_schemas(read_tools(self._take("tools", _objects) or []), raw)
        tools, turns = apply_tool_changes(declared, said)
        for before, after in zip(said, turns, strict=True):
            if len(after.blocks) < len(before.blocks):
                self._extensions.append(
                    Extension(NAME, before.path, None, "degrading", "its change of tools holds from the start")
                )
        return tools, turns

    def _turns(self) -> tuple[Turn, ...]:
        messages = self._need("messages", list_decoder, "messages array is required")
        if not messages:
            raise InvalidRequest("messages array cannot be empty", param="messages")
        return tuple([_read_turn(raw, f"messages[{index}]", self._note) for index, raw in enumerate(messages)])

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
        choice = self._take("tool_choice", _object)
        if choice is None:
            return None, None
        serial = choice.get("disable_parallel_tool_use")
        parallel = None if serial is None else not serial
        match choice:
            case {"type": "auto" | "any" | "none" as mode}:
                return ToolChoice(mode), parallel
            case {"type": "tool", "name": str(name)}:
                return ToolChoice("tool", ((None, name),)), parallel
            case _:
                raise InvalidRequest(
                    "tool_choice.type must be auto, any, none, or tool with a name", param="tool_choice.type"
                )

    def _cache_hint(self) -> CacheHint | None:
        cache = self._take("cache_control", _cache)
        return CacheHint(cache.ttl) if cache else None

    def _remaining_extensions(self) -> tuple[Extension, ...]:
        for name, raw in self._fields.items():
            if bytes(raw) != b"null":
                self._note(name, raw)
        return tuple(self._extensions)


def _read_turn(raw: msgspec.Raw, path: str, note: NoteField) -> Turn:
    try:
        turn: WireTurn = _known_turn.decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        turn = read_value(raw, _any_turn, path)
        for name, value in read_value(raw, fields_decoder, path).items():
            if name not in WireTurn.__struct_fields__:
                note(f"{path}.{name}", value)
    if turn.role not in _ROLES:
        raise InvalidRequest(f"{path}.role: must be user, assistant or system", param=f"{path}.role")
    if is_absent(turn.content):
        raise InvalidRequest(f"{path}.content: field required", param=f"{path}.content")
    blocks = read_blocks(turn.content, f"{path}.content", note)
    config = turn.output_config or {}
    effort = take_field(config, f"{path}.output_config.effort", optional_text)
    for name, value in config.items():
        note(f"{path}.output_config.{name}", value)
    return Turn(role=turn.role, blocks=blocks, effort=effort, clear_at=turn.clear_at, path=path)


def _split_betas(header: str) -> tuple[str, ...]:
    return tuple(name for part in header.split(",") if (name := part.strip()))


def _edits_matter(value: Any) -> bool:
    """Whether a `context_management` does more than drop old thinking, which no other model is shown."""
    match value:
        case {"edits": [*edits]}:
            return any(not isinstance(e, dict) or not str(e.get("type")).startswith("clear_thinking") for e in edits)
        case _:
            return bool(value)


def _loser(losses: list[Loss], path: str) -> Any:
    def lose(severity: Severity, why: str) -> None:
        losses.append(Loss(severity, path, why))

    return lose


def _max_tokens(request: Request, capabilities: Capabilities) -> int:
    if request.max_tokens is not None:
        return request.max_tokens
    limit = capabilities.max_output or DEFAULT_MAX_TOKENS
    return capabilities.default_output or (limit if request.stream else min(limit, DEFAULT_MAX_TOKENS))


def _write_turns(
    request: Request, capabilities: Capabilities, losses: list[Loss], betas: list[str]
) -> list[dict[str, Any]]:
    cached = capabilities.cache_hints == "cache_control"
    unsigned = capabilities.reasoning_required or capabilities.reasoning_replay != "none"
    messages = []
    for turn in request.turns:
        lose = _loser(losses, turn.path)
        message: dict[str, Any] = {"role": turn.role}
        message["content"] = BlockWriter(lose, cached=cached, unsigned=unsigned).content(turn.blocks)
        if turn.role == "system":
            if turn.effort is not None:
                message["output_config"] = {"effort": turn.effort}
                betas.append(TURN_EFFORT_BETA)
            if turn.clear_at is not None:
                message["clear_at"] = turn.clear_at
                betas.append(CLEAR_AT_BETA)
        if turn.name is not None:
            lose("ignorable", "speakers have no names here")
        if message["content"] or "output_config" in message:
            messages.append(message)
    return messages


def _write_settings(request: Request, capabilities: Capabilities, losses: list[Loss]) -> dict[str, Any]:
    """The small fields; those that this dialect lacks become losses, of the class that mapping tables give them."""
    sampling, state = request.sampling, request.state
    lacking: tuple[tuple[Severity, str, object], ...] = (
        ("degrading", "frequency_penalty", sampling.frequency_penalty),
        ("degrading", "presence_penalty", sampling.presence_penalty),
        ("ignorable", "seed", sampling.seed),
        ("degrading", "logit_bias", sampling.logit_bias),
        ("degrading", "verbosity", request.verbosity),
        ("wrong", "logprobs", request.logprobs),
        ("wrong", "n", request.n if request.n > 1 else None),
        ("ignorable", "prompt_cache_key", request.cache_key),
        ("ignorable", "metadata", request.metadata),
        ("degrading", "store", state.store or None),
        ("wrong", "previous_response_id", state.previous_id),
        ("wrong", "conversation", state.conversation),
        ("wrong", "background", state.background or None),
    )
    losses.extend(
        Loss(loss, name, "Anthropic Messages has no such field") for loss, name, value in lacking if value is not None
    )
    tier = TIERS_TO_ASK.get(request.service_tier or "")
    written: dict[str, Any] = {
        "temperature": sampling.temperature,
        "top_p": sampling.top_p,
        "top_k": sampling.top_k,
        "stop_sequences": list(request.stop) or None,
        "metadata": {"user_id": request.user} if request.user else None,
        "service_tier": tier,
        "stream": request.stream or None,
    }
    if request.cache is not None and capabilities.cache_hints == "cache_control":
        written["cache_control"] = write_cache(request.cache)
    return {name: value for name, value in written.items() if value is not None}


def _restore_extensions(body: dict[str, Any], request: Request, losses: list[Loss], *, first_party: bool) -> None:
    """Give this dialect its own fields back, where they stood; those inside messages and tools are only reported."""
    for extension in request.extensions:
        if extension.dialect != NAME or "[" in extension.name:
            continue
        outer, _, inner = extension.name.partition(".")
        if outer == "thread" and not first_party:
            losses.append(Loss("wrong", outer, "this upstream holds no conversations; send the whole history"))
        elif inner:
            body.setdefault(outer, {})[inner] = extension.value
        else:
            body[outer] = extension.value


def _version(body: Mapping[str, Any], capabilities: Capabilities) -> str:
    """The newest version for the vendor's own service, which refuses sampling parameters under it."""
    sampled = any(name in body for name in ("temperature", "top_p", "top_k"))
    return VERSION if capabilities.first_party and not sampled else TOLERANT_VERSION


def _needed_betas(body: Mapping[str, Any]) -> list[str]:
    """The betas without which the vendor would refuse fields of this body."""
    betas = []
    for path, beta in FIELD_BETAS.items():
        outer, _, inner = path.partition(".")
        if outer in body and (not inner or inner in body[outer]):
            betas.append(beta)
    if "context_management" in body and "compact_" in str(body["context_management"]):
        betas.append(COMPACT_EDIT_BETA)
    if body.get("thinking", {}).get("display") == "updates":
        betas.append(UPDATES_BETA)
    for tool in body.get("tools", ()):
        kind = str(tool.get("type"))
        if kind.startswith("advisor_"):
            betas.append(ADVISOR_BETA)
        elif kind == "mcp_toolset":
            betas.append(MCP_TOOLSET_BETA)
    return betas
