"""Parses and renders content blocks."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Sequence
from typing import Any, assert_never

import msgspec

from app.conversation.blocks import (
    Audio,
    Block,
    CacheHint,
    Compaction,
    File,
    FileId,
    Image,
    Inline,
    Opaque,
    PlainText,
    Proof,
    Reasoning,
    Refusal,
    SearchResult,
    ServerTool,
    Source,
    Text,
    ToolCall,
    ToolResult,
    Url,
)
from app.conversation.envelope import is_sealed, seal, unseal
from app.conversation.literals import as_object, one_object, text_of
from app.conversation.losses import Loss, Severity
from app.conversation.steps import CITATION
from app.dialects.anthropic_messages.content.server_steps import parse_step
from app.dialects.anthropic_messages.vocabulary import (
    CACHE_TTLS,
    NAME,
    SERVER_CALLS,
    SERVER_RESULT_ENDING,
    KnownBlock,
    PlainBlock,
    WireBlock,
    WireSource,
)
from app.dialects.foreign.listed_media import read_output
from app.dialects.json_bodies import read_value, repair_surrogates
from app.dialects.readable import read_unknown
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

# The content of a block or a turn, raw or decoded.
Content = msgspec.Raw | str | list[PlainBlock] | None
# Called with the path of a block's field that the neutral model lacks.
NoteField = Callable[[str, msgspec.Raw], None]

_known_block = msgspec.json.Decoder(KnownBlock)
_known_blocks = msgspec.json.Decoder(list[KnownBlock])
_plain_blocks = msgspec.json.Decoder(list[PlainBlock])
_any_block = msgspec.json.Decoder(WireBlock)
_source = msgspec.json.Decoder(WireSource)
_citations = msgspec.json.Decoder(list[dict[str, Any]] | None)
_enabled = msgspec.json.Decoder(dict[str, Any] | None)
_NO_RAW = msgspec.Raw()


def read_blocks(content: Content, path: str, note: NoteField) -> tuple[Block, ...]:
    """The blocks of a `content`, which is a string, a list of blocks, or empty. Raises InvalidRequest."""
    if not isinstance(content, msgspec.Raw):
        if isinstance(content, list):
            return tuple([_take_plain(block, path, index, note) for index, block in enumerate(content)])
        return (Text(content),) if content else ()
    match _first_byte(content):
        case b'"':
            text = read_value(content, text_decoder, path)
            return (Text(text),) if text else ()
        case b"" | b"n":
            return ()
        case b"{":  # a lone block without the list around it
            return (read_block(content, path, note),)
        case _:
            return _read_list(content, path, note)


def _read_list(content: msgspec.Raw, path: str, note: NoteField) -> tuple[Block, ...]:
    """Blocks without unknown fields are decoded all at once, because each pass over a long history takes
    milliseconds."""
    with contextlib.suppress(*UNREADABLE):
        return read_blocks(_plain_blocks.decode(content), path, note)
    try:
        blocks = _known_blocks.decode(content)
    except UNREADABLE:
        raws = read_value(content, list_decoder, path)
        return tuple([read_block(raw, f"{path}[{index}]", note) for index, raw in enumerate(raws)])
    if all(_is_modelled(block.type) for block in blocks):
        raws = [_NO_RAW] * len(blocks)
    else:
        raws = list_decoder.decode(content)
    return tuple([_take(blocks[index], raw, f"{path}[{index}]", note) for index, raw in enumerate(raws)])


def read_block(raw: msgspec.Raw, path: str, note: NoteField) -> Block:
    """One block. An unknown type becomes `Opaque`; for an invalid block of a known type InvalidRequest says what is
    wrong."""
    try:
        return _take(_known_block.decode(raw), raw, path, note)
    except msgspec.ValidationError:
        wire = read_value(raw, _any_block, path)
    except UNREADABLE as error:
        raise InvalidRequest(f"{path}: {error}", param=path) from error
    block = _take(wire, raw, path, note)
    others = other_fields(read_value(raw, fields_decoder, path)) if _is_modelled(wire.type) else {}
    for name, value in others.items():
        note(f"{path}.{name}", value)
    return msgspec.structs.replace(block, extensions=decode_fields(others)) if others else block


def other_fields(fields: Fields) -> Fields:
    """The fields of a block that have no place in the neutral model."""
    return {name: raw for name, raw in fields.items() if name not in WireBlock.__struct_fields__}


def decode_fields(fields: Fields) -> dict[str, Any]:
    return {name: any_decoder.decode(raw) for name, raw in fields.items()}


def read_arguments(given: bytes) -> str:
    """The arguments in a call's `input`; some servers send the object as a string."""
    if given[:1] == b'"':
        text = one_object(text_of(given))
        with contextlib.suppress(*UNREADABLE):
            fields_decoder.decode(text or "{}")
            return text or "{}"
    return "{}" if given in (b"null", b"[]") else given.decode() or "{}"


def _take_plain(block: PlainBlock, path: str, index: int, note: NoteField) -> Block:
    """One block of a list at `path`. Nearly all are complete and hold nothing rare; these need no path."""
    kind, content = block.type, block.content
    if block.cache_control is None:
        if kind == "text" and block.text is not None and is_absent(block.citations):
            return Text(block.text)
        if kind == "tool_use" and type(block.id) is str and block.name is not None:
            return ToolCall(block.id, block.name, read_arguments(bytes(block.input)))
        if kind == "tool_result" and type(block.tool_use_id) is str and type(content) is str:
            output = read_output((Text(content),)) if content else ()
            return ToolResult(block.tool_use_id, output, bool(block.is_error))
    return _take(block, _NO_RAW, f"{path}[{index}]", note)


def _take(block: WireBlock, raw: msgspec.Raw, path: str, note: NoteField) -> Block:
    """One decoded block; `raw` is needed only for types that are not modelled."""
    cache = CacheHint(block.cache_control.ttl) if block.cache_control else None
    match block.type:
        case "text":
            citations = (
                read_value(block.citations, _citations, f"{path}.citations") if not is_absent(block.citations) else None
            )
            return Text(_need(block.text, path, "text"), cache, read_citations(citations or ()))
        case "tool_use":
            arguments = read_arguments(bytes(block.input))
            return ToolCall(_identifier(block.id, path, "id"), _need(block.name, path, "name"), arguments, cache=cache)
        case "tool_result":
            return ToolResult(
                _identifier(block.tool_use_id, path, "tool_use_id"),
                read_output(read_blocks(block.content, f"{path}.content", note)),
                is_error=bool(block.is_error),
                cache=cache,
            )
        case "thinking":
            return _read_thinking(block, raw)
        case "redacted_thinking":
            data = _need(block.data, path, "data")
            proof = unseal(data) if is_sealed(data) else Proof(NAME, "redacted", (_original(block, raw),))
            return Reasoning("", proof)
        case "image":
            source = _read_source(block, path)
            if isinstance(source, PlainText):
                raise InvalidRequest(f"{path}.source: must be an image, not text", param=f"{path}.source")
            return Image(source, cache=cache)
        case "document":
            return _read_document(block, path, cache, note)
        case "search_result":
            blocks = read_blocks(block.content, f"{path}.content", note)
            texts = tuple(inner for inner in blocks if isinstance(inner, Text))
            source_name = read_value(block.source, text_decoder, f"{path}.source")
            return SearchResult(
                _need(block.title, path, "title"), source_name, texts, _read_enabled(block, path), cache
            )
        case "compaction":
            summary = text_decoder.decode(block.content) if _first_byte(block.content) == b'"' else None
            sealed = block.encrypted_content or ""
            proof = unseal(sealed) if is_sealed(sealed) else Proof(NAME, "compaction", (_compact(raw),))
            return Compaction(summary, proof)
        case name if _is_server_step(name):
            return parse_step(name, _compact(raw))
        case unknown:
            readable = () if unknown == "tool_reference" else read_unknown(bytes(raw), unknown)
            return Opaque(NAME, unknown, _compact(raw), readable)


def ignore_field(path: str, raw: msgspec.Raw) -> None:
    """A NoteField for responses: unknown fields of their blocks are for newer clients, which need no translation."""


def is_absent(raw: msgspec.Raw) -> bool:
    """Whether a raw field is missing; null counts as present."""
    return len(raw) == 0


class BlockWriter:
    """Writes blocks in wire form, ready for encoding.

    Losses go to `losses`, under `path`. `cached`: write cache hints. `own`: the blocks were read from this dialect.
    `unsigned`: the server accepts reasoning without a signature, as those of DeepSeek and Kimi do.
    """

    __slots__ = ("_cached", "_losses", "_own", "_path", "_unsigned")

    def __init__(self, losses: list[Loss], path: str, *, cached: bool, own: bool, unsigned: bool = False) -> None:
        self._losses = losses
        self._path = path
        self._cached = cached
        self._own = own
        self._unsigned = unsigned

    def content(self, blocks: Sequence[Block]) -> str | list[Any]:
        """A single plain text as a string, which every server of this dialect accepts; otherwise a list of blocks."""
        match blocks:
            case [Text(text=text, cache=None, citations=(), phase=None, extensions=None)] if text:
                return text
            case _:
                return self.blocks(blocks)

    def blocks(self, blocks: Sequence[Block]) -> list[Any]:
        written: list[Any] = []
        for block in blocks:
            self._write(block, written)
        return written

    def _lose(self, severity: Severity, why: str) -> None:
        self._losses.append(Loss(severity, self._path, why))

    def _write(self, block: Block, written: list[Any]) -> None:
        """Appends the wire form of `block` to `written`: one block, none, or several."""
        match block:
            case Text():
                if block.text:  # the vendor refuses empty text
                    written.append(self._text(block))
            case ToolCall():
                written.append(self._call(block))
            case ToolResult():
                written.append(self._result(block))
            case Reasoning(proof=proof) | Compaction(proof=proof) if proof is not None and proof.dialect == NAME:
                written.extend(msgspec.Raw(original) for original in proof.originals)
            case Reasoning(text=text):
                if self._unsigned:
                    written.append({"type": "thinking", "thinking": text})
                else:
                    self._lose("ignorable", "Claude accepts only reasoning that it signed")
            case Image():
                written.append(self._finish({"type": "image", "source": _write_source(block.source)}, block))
                if block.detail not in (None, "auto"):
                    self._lose("ignorable", "this dialect has no detail level for images")
            case File():
                written.append(self._finish(self._document(block), block))
            case SearchResult():
                written.append(self._search_result(block))
            case Refusal(text=text):
                if text:
                    written.append({"type": "text", "text": text})
            case Compaction(text=text):
                if text:
                    written.append({"type": "text", "text": f"Summary of the earlier conversation:\n\n{text}"})
                else:
                    self._lose("degrading", "only the vendor that created a compaction can read it")
            case ServerTool(dialect=dialect, raw=raw) | Opaque(dialect=dialect, raw=raw):
                if dialect == NAME:
                    written.append(msgspec.Raw(raw))
                else:
                    self._lose("degrading", "this dialect cannot express another vendor's own block")
            case Audio():
                self._lose("wrong", "audio is not supported")
            case _:
                assert_never(block)

    def _text(self, block: Text) -> dict[str, Any]:
        wire: dict[str, Any] = {"type": "text", "text": block.text}
        if citations := _own_citations(block.citations):
            wire["citations"] = citations
        if block.phase is not None:
            self._lose("ignorable", "this dialect does not distinguish commentary from the final answer")
        return self._finish(wire, block)

    def _call(self, block: ToolCall) -> dict[str, Any]:
        arguments, sensible = as_object(_without_halves(block.arguments))
        if not sensible:
            self._lose("degrading", "the arguments of the call are not JSON")
        wire = {"type": "tool_use", "id": block.id, "name": block.name, "input": msgspec.Raw(arguments.encode())}
        return self._finish(wire, block)

    def _result(self, block: ToolResult) -> dict[str, Any]:
        wire: dict[str, Any] = {"type": "tool_result", "tool_use_id": block.call_id}
        # The vendor refuses blank texts.
        spoken = [inner for inner in block.blocks if not isinstance(inner, Text) or inner.text.strip()]
        if content := self.content(spoken):
            wire["content"] = content
        if block.is_error:
            wire["is_error"] = True
        return self._finish(wire, block)

    def _search_result(self, block: SearchResult) -> dict[str, Any]:
        wire: dict[str, Any] = {"type": "search_result", "source": block.source, "title": block.title}
        wire["content"] = self.blocks(block.blocks)
        if block.citations is not None:
            wire["citations"] = {"enabled": block.citations}
        return self._finish(wire, block)

    def _document(self, block: File) -> dict[str, Any]:
        source: dict[str, Any]
        if block.source is None:
            source = {"type": "content", "content": self.content(block.blocks)}
        else:
            source = _write_source(block.source)
        wire = {"type": "document", "source": source, "title": block.name, "context": block.context}
        if block.citations is not None:
            wire["citations"] = {"enabled": block.citations}
        return {name: value for name, value in wire.items() if value is not None}

    def _finish(
        self, wire: dict[str, Any], block: Text | Image | File | SearchResult | ToolCall | ToolResult
    ) -> dict[str, Any]:
        """The wire form with what any block may have beside its content."""
        if block.cache is not None and self._cached:
            wire["cache_control"] = write_cache(block.cache)
        if block.extensions is not None and self._own:
            wire |= block.extensions
        return wire


def _own_citations(citations: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The citations in this dialect's form; the vendor would refuse others."""
    return [
        citation
        for citation in citations
        if str(citation.get("type")).endswith("_location") and not is_sealed(str(citation.get("encrypted_index")))
    ]


def read_citations(citations: Iterable[dict[str, Any]]) -> tuple[dict[str, Any], ...]:
    """Citations in their original form: those of other dialects are unsealed."""
    return tuple(_unseal_citation(citation) for citation in citations)


def shown_citations(citations: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """Citations for a client of this dialect. A page cited by another vendor is shown as a search result, and that
    vendor's other data is sealed in the field for Claude's own proof."""
    return [shown for citation in citations if (shown := _show_citation(citation)) is not None]


def _show_citation(citation: dict[str, Any]) -> dict[str, Any] | None:
    if _own_citations((citation,)):
        return citation
    nested = citation.get("url_citation")
    page = nested if isinstance(nested, dict) else citation
    url, title = page.get("url"), page.get("title")
    if not isinstance(url, str):
        return None
    sealed = seal(Proof("openai_responses", CITATION, (msgspec.json.encode(citation),)))
    shown = {"type": "web_search_result_location", "url": url, "title": title if isinstance(title, str) else url}
    return {**shown, "encrypted_index": sealed, "cited_text": ""}


def _unseal_citation(citation: dict[str, Any]) -> dict[str, Any]:
    sealed = citation.get("encrypted_index")
    proof = unseal(sealed) if isinstance(sealed, str) and is_sealed(sealed) else None
    if proof is None or proof.kind != CITATION or not proof.originals:
        return citation
    value = decode_or_none(proof.originals[0], any_decoder)
    return value if isinstance(value, dict) else citation


def write_cache(hint: CacheHint) -> dict[str, str]:
    """A `cache_control` object; other vendors' lifetimes are raised to the next longer one."""
    ttl = CACHE_TTLS.get(hint.ttl)
    return {"type": "ephemeral", "ttl": ttl} if ttl else {"type": "ephemeral"}


def seal_reasoning(proof: Proof | None) -> str:
    """The signature shown to a client of this dialect for reasoning that Claude did not sign.

    Every such block gets one; its prefix distinguishes it from Claude's own blocks, because it must never be sent to
    Claude. Without a proof the envelope is empty, since the text is in the block anyway.
    """
    return seal(proof) if proof is not None else _UNPROVEN


_UNPROVEN = seal(Proof("openai_chat", "plain", ()))


def _first_byte(raw: msgspec.Raw) -> bytes:
    return bytes(memoryview(raw)[:1])


def _is_server_step(name: str) -> bool:
    return name in SERVER_CALLS or (name.endswith(SERVER_RESULT_ENDING) and name != "tool_result")


def _is_modelled(name: str) -> bool:
    """Whether blocks of this type are converted to the neutral model; others keep their raw text and with it every
    field."""
    return name in ("text", "tool_use", "tool_result", "image", "document", "search_result")


def _need(value: str | None, path: str, name: str) -> str:
    if value is None:
        raise InvalidRequest(f"{path}.{name}: field required", param=f"{path}.{name}")
    return value


def _identifier(value: str | int | None, path: str, name: str) -> str:
    """An id as text; some servers number their calls."""
    return str(value) if isinstance(value, int) else _need(value, path, name)


def _compact(raw: msgspec.Raw | bytes) -> bytes:
    """JSON text on one line, as an SSE event requires."""
    return msgspec.json.format(bytes(raw), indent=-1)


def _original(block: WireBlock, raw: msgspec.Raw) -> bytes:
    """A reasoning block unchanged, but without `cache_control`, which the vendor refuses there."""
    if block.cache_control is None:
        return _compact(raw)
    fields = fields_decoder.decode(raw)
    del fields["cache_control"]
    return _compact(msgspec.json.encode(fields))


def _read_thinking(block: WireBlock, raw: msgspec.Raw) -> Reasoning:
    text, signature = block.thinking or "", block.signature or ""
    if not signature:
        return Reasoning(text)
    if is_sealed(signature):
        return Reasoning(text, unseal(signature))
    return Reasoning(text, Proof(NAME, "thinking", (_original(block, raw),)))


def _read_source(block: WireBlock, path: str) -> Source:
    source = read_value(block.source, _source, f"{path}.source")
    where = f"{path}.source"
    match source.type:
        case "base64":
            # A type that is missing shows in the bytes.
            return Inline(source.media_type or "", _need(source.data, where, "data"))
        case "url":
            return Url(_need(source.url, where, "url"))
        case "file":
            return FileId(_need(source.file_id, where, "file_id"), NAME)
        case "text":
            return PlainText(_need(source.data, where, "data"), source.media_type or "text/plain")
        case other:
            raise InvalidRequest(f"{where}.type: {other!r} is not a known source", param=f"{where}.type")


def _read_document(block: WireBlock, path: str, cache: CacheHint | None, note: NoteField) -> File:
    citations = _read_enabled(block, path)
    source = read_value(block.source, _source, f"{path}.source")
    if source.type == "content":
        blocks = read_blocks(source.content, f"{path}.source.content", note)
        return File(None, block.title, block.context, citations, blocks, cache)
    return File(_read_source(block, path), block.title, block.context, citations, (), cache)


def _read_enabled(block: WireBlock, path: str) -> bool | None:
    if is_absent(block.citations):
        return None
    setting = read_value(block.citations, _enabled, f"{path}.citations") or {}
    return setting.get("enabled")


def _write_source(source: Source) -> dict[str, str]:
    match source:
        case Inline():
            return {"type": "base64", "media_type": source.media_type, "data": source.data}
        case Url():
            return {"type": "url", "url": source.url}
        case FileId():
            return {"type": "file", "file_id": source.file_id}
        case PlainText():
            return {"type": "text", "media_type": source.media_type, "data": source.text}
        case _:
            assert_never(source)


def _without_halves(arguments: str) -> str:
    """The arguments with escaped halves of surrogate pairs repaired; one half makes the vendor refuse the whole
    request."""
    return repair_surrogates(arguments.encode("utf-8", "replace")).decode() if "\\u" in arguments else arguments
