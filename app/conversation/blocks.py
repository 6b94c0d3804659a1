"""The content blocks of turns and responses.

Every block type of every dialect has a place here. A block that only one dialect knows is `Opaque` and keeps its bytes,
so its own dialect gets it back unchanged.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

DialectName = str  # one of app/dialects/registry.py

ToolKind = Literal["function", "custom", "tool_search", "local_shell", "shell", "apply_patch"]


# Kind of a proof that belongs to one tool call. Dialects whose calls cannot hold it carry it as reasoning before them.
CALL_PROOF = "tool_call"
# Kind of a proof that names the machine on which an upstream's own tools ran.
MACHINE_PROOF = "container"


class CacheHint(msgspec.Struct, frozen=True):
    """A request to cache the prefix that ends here. `ttl` is "5m", "1h", "30m", "12h" or None for the default."""

    ttl: str | None = None


class Proof(msgspec.Struct, frozen=True):
    """An opaque signature or encrypted content, and where it belongs.

    `originals` are the JSON texts of the upstream's own blocks or items, verbatim. A proof is rendered natively
    towards `dialect`, sealed into an envelope towards clients of other dialects, and dropped towards any other
    upstream. `kind` is "thinking", "redacted", "reasoning", "plain", "compaction", "server_tool", CALL_PROOF or
    MACHINE_PROOF.
    """

    dialect: DialectName
    kind: str
    originals: tuple[bytes, ...]
    model: str | None = None


class Inline(msgspec.Struct, frozen=True):
    """Bytes within the request: `data` is base64 without line breaks or prefix."""

    media_type: str
    data: str


class Url(msgspec.Struct, frozen=True):
    url: str


class FileId(msgspec.Struct, frozen=True):
    """A file stored by one vendor; its id means nothing to any other."""

    file_id: str
    dialect: DialectName


class PlainText(msgspec.Struct, frozen=True):
    """A document given as plain characters."""

    text: str
    media_type: str = "text/plain"


Source = Inline | Url | FileId | PlainText


# Fields of a block that only the dialect it was read from knows.
Extensions = dict[str, Any] | None


class Text(msgspec.Struct, frozen=True):
    """Visible text. `citations` are the dialect's own objects; `phase` is "commentary", "final_answer" or None."""

    text: str
    cache: CacheHint | None = None
    citations: tuple[dict[str, Any], ...] = ()
    phase: str | None = None
    extensions: Extensions = None


class Image(msgspec.Struct, frozen=True):
    source: Inline | Url | FileId
    detail: str | None = None
    cache: CacheHint | None = None
    extensions: Extensions = None


class File(msgspec.Struct, frozen=True):
    """A document. `blocks` holds the content of a document made of blocks; then `source` is None."""

    source: Source | None
    name: str | None = None
    context: str | None = None
    citations: bool | None = None
    blocks: tuple[Block, ...] = ()
    cache: CacheHint | None = None
    extensions: Extensions = None


class SearchResult(msgspec.Struct, frozen=True):
    title: str
    source: str
    blocks: tuple[Text, ...]
    citations: bool | None = None
    cache: CacheHint | None = None
    extensions: Extensions = None


class Audio(msgspec.Struct, frozen=True):
    """Sound. `raw` is the dialect's own content part."""

    dialect: DialectName
    raw: bytes


class Reasoning(msgspec.Struct, frozen=True):
    """The model's thinking. `text` may be empty while `proof` is set: that is valid and must be preserved."""

    text: str
    proof: Proof | None = None


class ToolCall(msgspec.Struct, frozen=True):
    """A tool call by the model.

    `arguments` is the JSON text as received, never re-serialised, which preserves key order and the spelling of
    numbers. For kind "custom" it is free text, for "local_shell" and "shell" the JSON of the item's `action`, for
    "apply_patch" the JSON of its `operation`. `namespace` is the group in which the tool was declared.
    """

    id: str
    name: str
    arguments: str
    kind: ToolKind = "function"
    namespace: str | None = None
    cache: CacheHint | None = None
    proof: Proof | None = None
    extensions: Extensions = None


class ToolResult(msgspec.Struct, frozen=True):
    call_id: str
    blocks: tuple[Block, ...]
    is_error: bool = False
    kind: ToolKind = "function"
    cache: CacheHint | None = None
    extensions: Extensions = None

    @property
    def hinted_blocks(self) -> tuple[Block, ...]:
        """The blocks with the result's cache hint moved to the last block if that is a text, for dialects where only
        texts can carry one."""
        last = self.blocks[-1] if self.blocks else None
        if self.cache is None or not isinstance(last, Text) or last.cache is not None:
            return self.blocks
        return (*self.blocks[:-1], msgspec.structs.replace(last, cache=self.cache))


# What an upstream-run tool does. "other" has no equivalent at other vendors.
StepKind = Literal["search", "fetch", "code", "mcp", "image", "other"]


class Page(msgspec.Struct, frozen=True):
    """A web page that a search found. `title` may be empty."""

    url: str
    title: str = ""


class Step(msgspec.Struct, frozen=True):
    """One step of an upstream's own tool in neutral terms, for clients of other dialects.

    `input` is the JSON text of the tool's input, None for a result that arrives as a separate step. `output` is the
    tool's answer as text, None for a call without its result. A call and its result have the same `id`. `server` is the
    name of the MCP server.
    """

    kind: StepKind
    id: str
    name: str
    input: str | None = None
    output: str | None = None
    pages: tuple[Page, ...] = ()
    images: tuple[Inline, ...] = ()
    server: str = ""
    is_error: bool = False


class ServerTool(msgspec.Struct, frozen=True):
    """One step of a tool that the upstream runs itself: its call, its result, or both.

    `text` is its gist, if any. `step` describes the same to clients of other dialects; None if it has no meaning there.
    """

    dialect: DialectName
    name: str
    raw: bytes
    text: str = ""
    step: Step | None = None


class Refusal(msgspec.Struct, frozen=True):
    text: str


class Compaction(msgspec.Struct, frozen=True):
    """A summary that replaces everything before it."""

    text: str | None
    proof: Proof | None = None


class Opaque(msgspec.Struct, frozen=True):
    """A block that only `dialect` knows. `raw` is its JSON text, `type` its type name.

    `description` is its readable content: labelled words, and images. `from_user` distinguishes a user's content, whose
    loss makes the answer wrong, from the markers that programs leave between turns.
    """

    dialect: DialectName
    type: str
    raw: bytes
    description: tuple[Block, ...] = ()
    from_user: bool = True


Block = (
    Text
    | Image
    | File
    | SearchResult
    | Audio
    | Reasoning
    | ToolCall
    | ToolResult
    | ServerTool
    | Refusal
    | Compaction
    | Opaque
)
