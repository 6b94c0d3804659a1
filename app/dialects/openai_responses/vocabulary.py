"""Types, enum tables and losses of Responses.

Shapes are tolerant: every field may be missing or null, and unlisted fields are ignored.
"""

from __future__ import annotations

import hashlib
from typing import Annotated, Any, Literal

import msgspec

from app.conversation.blocks import ToolKind
from app.conversation.losses import Severity
from app.conversation.request import UNKNOWN_EFFORT, FieldLoss
from app.conversation.response import FinishReason
from app.dialects.foreign.tools import OtherSchemas
from app.dialects.openai_shared.counts import WireUsage

NAME: Literal["openai_responses"] = "openai_responses"

NULL = msgspec.Raw(b"null")


class Breakpoint(msgspec.Struct):
    mode: str | None = None
    ttl: str | None = None


class ImageUrl(msgspec.Struct):
    """Chat's form, which clients send here too."""

    url: str
    detail: str | None = None


class Part(msgspec.Struct):
    """A part of a message's content, of a tool's output, or of a summary; also a call nested in a message."""

    type: str | None = None
    text: str | None = None
    refusal: str | None = None
    image_url: str | ImageUrl | None = None
    detail: str | None = None
    file_id: str | None = None
    file_url: str | None = None
    file_data: str | None = None
    filename: str | None = None
    encrypted_content: str | None = None
    annotations: list[dict[str, Any]] | None = None
    logprobs: list[dict[str, Any]] | None = None
    prompt_cache_breakpoint: Breakpoint | None = None


class Item(msgspec.Struct):
    """An input or output item of any type. Fields that differ between types stay raw."""

    type: str | None = None
    role: str | None = None
    id: str | None = None
    status: str | None = None
    content: msgspec.Raw = NULL
    phase: str | None = None
    call_id: str | None = None
    name: str | None = None
    namespace: str | None = None
    arguments: msgspec.Raw = NULL
    input: str | None = None
    output: msgspec.Raw = NULL
    action: msgspec.Raw = NULL
    operation: msgspec.Raw = NULL
    execution: str | None = None
    caller: msgspec.Raw = NULL
    asynchronous: msgspec.Raw = msgspec.field(default=NULL, name="async")
    summary: msgspec.Raw = NULL
    encrypted_content: str | None = None
    tools: msgspec.Raw = NULL
    reasoning: msgspec.Raw = NULL
    text: msgspec.Raw = NULL
    # Beside the content of messages as other dialects and libraries have them.
    parts: msgspec.Raw = NULL
    images: msgspec.Raw = NULL
    attachments: msgspec.Raw = NULL
    experimental_attachments: msgspec.Raw = NULL
    reasoning_content: msgspec.Raw = NULL
    refusal: msgspec.Raw = NULL
    audio: msgspec.Raw = NULL
    files: msgspec.Raw = NULL
    toolInvocations: msgspec.Raw = NULL  # noqa: N815 - the AI SDK's name


class Grammar(msgspec.Struct):
    type: str | None = None
    syntax: str | None = None
    definition: str | None = None


class WireTool(OtherSchemas):
    """A tool of any type, with the fields that are not specific to the upstream."""

    type: str | None = None
    name: str | None = None
    description: str | None = None
    parameters: dict[str, Any] | None = None
    strict: bool | None = None
    format: Grammar | None = None
    tools: list[WireTool] | None = None
    defer_loading: bool | None = None
    output_schema: Any = None
    allowed_callers: Any = None
    is_async: Any = msgspec.field(name="async", default=None)

    @property
    def schema(self) -> dict[str, Any] | None:
        """The schema of a function, under whatever name."""
        named = (self.parameters, self.other_schema)
        return next((schema for schema in named if isinstance(schema, dict)), None)


class WireChoice(msgspec.Struct):
    """A tool_choice that is an object, or one entry of an allowed_tools list."""

    type: str
    name: str | None = None
    namespace: str | None = None
    server_label: str | None = None
    mode: str | None = None
    tools: list[WireChoice] | None = None
    function: dict[str, str] | None = None  # the form of Chat Completions


class Format(msgspec.Struct):
    type: str = "json_schema"
    name: str | None = None
    description: str | None = None
    json_schema: dict[str, Any] | None = msgspec.field(name="schema", default=None)
    strict: bool | None = None
    nested: Format | None = msgspec.field(name="json_schema", default=None)


class TextSettings(msgspec.Struct):
    format: Format | None = None
    verbosity: str | None = None


class ReasoningField(msgspec.Struct):
    effort: str | None = None
    summary: str | None = None
    generate_summary: str | None = None
    context: str | None = None
    mode: str | None = None


class ConversationId(msgspec.Struct):
    id: str


Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]


class Settings(msgspec.Struct):
    """The fields of a request except `input` and `tools`, which are parsed separately."""

    model: str | None = None
    instructions: str | None = None
    stream: bool | None = None
    max_output_tokens: Annotated[int, msgspec.Meta(ge=1)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    top_logprobs: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    tool_choice: str | WireChoice | None = None
    parallel_tool_calls: bool | None = None
    text: TextSettings | None = None
    reasoning: ReasoningField | None = None
    include: list[str] | None = None
    store: bool | None = None
    previous_response_id: str | None = None
    conversation: str | ConversationId | None = None
    background: bool | None = None
    metadata: dict[str, Any] | None = None
    safety_identifier: str | None = None
    prompt_cache_key: str | None = None
    service_tier: str | None = None
    stop: str | list[str] | None = None


class WebSearchUse(msgspec.Struct):
    num_requests: int | None = None


class ToolUsage(msgspec.Struct):
    web_search: WebSearchUse | None = None


class IncompleteDetails(msgspec.Struct):
    reason: str | None = None


class WireResponse(msgspec.Struct):
    """The response object, complete or at some point of a stream."""

    id: str | None = None
    model: str | None = None
    status: str | None = None
    created_at: float | None = None
    output: list[msgspec.Raw] | None = None
    output_text: msgspec.Raw = NULL
    error: Any = None
    incomplete_details: IncompleteDetails | None = None
    usage: WireUsage | None = None
    tool_usage: ToolUsage | None = None
    service_tier: str | None = None
    moderation: Any = None
    input_transformations: Any = None
    prompt_cache_diagnostics: Any = None


item_decoder = msgspec.json.Decoder(Item)
part_decoder = msgspec.json.Decoder(Part)
response_decoder = msgspec.json.Decoder(WireResponse)

# Fields of a response that only this dialect knows, by our name; they do not depend on the request. Anthropic has other
# `input_transformations`.
RESPONSE_EXTENSIONS = {
    "moderation": "moderation",
    "removed_reasoning": "input_transformations",
    "prompt_cache_diagnostics": "prompt_cache_diagnostics",
}

# Request fields that the neutral model lacks, with the severity and reason of their loss.
FIELD_LOSSES: dict[str, FieldLoss] = {
    "prompt": FieldLoss("wrong", "a prompt template is kept by OpenAI and cannot be looked up"),
    "context_management": FieldLoss("degrading", "the upstream does not compact the context by itself"),
    "truncation": FieldLoss("degrading", "the upstream does not shorten an input that is too long", ("disabled",)),
    "max_tool_calls": FieldLoss("degrading", "the upstream cannot limit its own tools"),
    "moderation": FieldLoss("degrading", "the upstream does not moderate", grave=b'"block"'),
    "reasoning.effort": FieldLoss("degrading", UNKNOWN_EFFORT),
    "reasoning.mode": FieldLoss("degrading", "the upstream has no reasoning modes"),
    "reasoning.context": FieldLoss("ignorable", "the upstream decides itself which past reasoning it reads"),
    "include": FieldLoss("ignorable", "the upstream has no such output to include"),
    "user": FieldLoss("ignorable", "only an id for abuse detection"),
}

# Fields that an upstream may refuse, with the severity of not sending them; others are hints.
REFUSED_FIELDS: dict[str, Severity] = {
    "temperature": "degrading",
    "top_p": "degrading",
    "max_output_tokens": "degrading",
    "truncation": "degrading",
    "previous_response_id": "wrong",
}

# `steered` ends a response that a successor continues: as far as it goes it is complete.
INCOMPLETE_REASONS: dict[str, FinishReason] = {
    "max_output_tokens": "length",
    "max_messages": "length",
    "content_filter": "content_filter",
    "steered": "stop",
}

# Status and reason of the response; the dialect cannot say "pause", and a stop sequence is a plain end.
STATUSES: dict[FinishReason, tuple[str, str | None]] = {
    "stop": ("completed", None),
    "stop_sequence": ("completed", None),
    "tool_calls": ("completed", None),
    "compaction": ("completed", None),
    "length": ("incomplete", "max_output_tokens"),
    "pause": ("incomplete", "max_output_tokens"),
    "content_filter": ("incomplete", "content_filter"),
}

TEXT_PARTS = ("input_text", "output_text", "text", "summary_text", "reasoning_text")
ANNOTATIONS = ("url_citation", "file_citation", "container_file_citation", "file_path")

# Media types by file extension.
FILE_TYPES = {
    "pdf": "application/pdf",
    "txt": "text/plain",
    "md": "text/markdown",
    "csv": "text/csv",
    "html": "text/html",
    "json": "application/json",
    "xml": "application/xml",
    "docx": "application/vnd.openxmlformats-officedocument.wordprocessingml.document",
    "xlsx": "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet",
    "pptx": "application/vnd.openxmlformats-officedocument.presentationml.presentation",
}

# Items of client-run tools: type of the call, field of the model's input, type of the result.
NATIVE_CALLS: dict[ToolKind, tuple[str, str, str]] = {
    "custom": ("custom_tool_call", "input", "custom_tool_call_output"),
    "tool_search": ("tool_search_call", "arguments", "tool_search_output"),
    "local_shell": ("local_shell_call", "action", "local_shell_call_output"),
    "shell": ("shell_call", "action", "shell_call_output"),
    "apply_patch": ("apply_patch_call", "operation", "apply_patch_call_output"),
}

# The last item of an input that asks for a compaction.
COMPACTION_TRIGGER = "compaction_trigger"

# Calls of tools that the client defines. Their results name them by `call_id`.
CALLS = ("function_call", "custom_tool_call")
# What holds a text, by type: calls and parts, with its field and how the names of its events begin.
TEXTS = {
    "function_call": ("arguments", "response.function_call_arguments"),
    "custom_tool_call": ("input", "response.custom_tool_call_input"),
    "output_text": ("text", "response.output_text"),
    "refusal": ("refusal", "response.refusal"),
    "reasoning_text": ("text", "response.reasoning_text"),
    "summary_text": ("text", "response.reasoning_summary_text"),
}

# Steps that the upstream performs itself and shows.
HOSTED_CALLS = (
    "web_search_call",
    "file_search_call",
    "code_interpreter_call",
    "image_generation_call",
    "mcp_call",
    "mcp_list_tools",
    "program",
    "program_output",
)

SUMMARIES: dict[str, str] = {
    "summarized": "auto",
    "updates": "auto",
    "auto": "auto",
    "concise": "concise",
    "detailed": "detailed",
}
SERVICE_TIERS = {"standard_only": "default", "standard": "default"}
# Lifetimes of cached prefixes. Anthropic's hour becomes half an hour, because twelve hours would cost more than
# requested.
CACHE_TTLS: dict[str, str | None] = {"5m": None, "1h": "30m", "30m": "30m", "12h": "12h"}

ID_PREFIXES = {
    "message": "msg",
    "reasoning": "rs",
    "function_call": "fc",
    "custom_tool_call": "ctc",
    "tool_search_call": "tsc",
    "local_shell_call": "lsh",
    "shell_call": "sh",
    "apply_patch_call": "apc",
    "web_search_call": "ws",
    "code_interpreter_call": "ci",
    "image_generation_call": "ig",
    "mcp_call": "mcp",
    "compaction": "cmp",
}


def has_foreign_id(item_type: str, item_id: object) -> bool:
    """Whether an item has an id that the vendor gives to none of its type, and refuses."""
    prefix = ID_PREFIXES.get(item_type)
    return prefix is not None and isinstance(item_id, str) and not item_id.startswith(prefix)


def mint_id(item_type: str, seed: str) -> str:
    """The id for an item that came without one; the same seed gives the same id, which keeps histories unchanged."""
    return f"{ID_PREFIXES[item_type]}_{hashlib.sha256(seed.encode('utf-8', 'surrogatepass')).hexdigest()[:24]}"
