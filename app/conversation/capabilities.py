"""What an upstream supports and expects: one record for everything that depends on a server or model.

Adaptations and renderers ask this record and contain no names of models. The values come from tables in
app/providers (dialect defaults, then the server's profile, then the model's family, then the configuration).
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec

from app.conversation.blocks import DialectName, Proof

ReasoningStyle = Literal["effort", "adaptive", "budget", "none"]
ReasoningField = Literal["none", "reasoning_content", "reasoning", "reasoning_details", "thinking_blocks"]


class Capabilities(msgspec.Struct, frozen=True, kw_only=True):
    """What one upstream (server and model) can do. Limits are in tokens unless said otherwise."""

    dialect: DialectName
    model: str = ""
    first_party: bool = False  # the vendor's own service, which also gets vendor-only fields and headers

    # limits
    max_tokens_field: str = "max_tokens"  # chat: or "max_completion_tokens"
    max_output: int | None = None  # hard limit of the answer
    default_output: int | None = None  # sent when the client sets no limit
    context_window: int | None = None
    stop_limit: int | None = None  # number of stop sequences; 0: none; None: unlimited
    stop_blank: bool = True  # whitespace-only stop sequences are accepted

    # sampling
    temperature: bool = True
    temperature_max: float = 2.0
    top_p: bool = True
    top_p_with_temperature: bool = True
    top_k: bool = False
    penalties: bool = True
    seed: bool = True
    logit_bias: bool = True
    logprobs: bool = True
    n: bool = True

    # reasoning
    reasoning_style: ReasoningStyle = "effort"
    efforts: tuple[str, ...] = ("low", "medium", "high")
    reasoning_off: Literal["omit", "none", "disabled", "between_tools", "never"] = "omit"
    reasoning_by_default: bool = False  # the model thinks unless told not to
    reasoning_on_fields: dict[str, Any] = {}  # top-level fields that say "think", beside the effort
    reasoning_off_fields: dict[str, Any] = {}  # top-level fields that say "do not think"
    reasoning_excludes_sampling: bool = False  # with reasoning on: no temperature, top_p, top_k
    reasoning_excludes_forced_tool: bool = False
    reasoning_excludes_tools: bool = False  # function tools are refused while reasoning is on
    reasoning_must_lead: bool = False  # budget style: the last tool turn must start with a valid proof
    reasoning_visibility: bool = False  # the request sets whether thinking is shown (display / summary)
    reasoning_replay: ReasoningField = "none"  # chat: where past reasoning goes
    unsigned_call: dict[str, Any] = {}  # chat: `extra_content` for past calls without a proof, where one is required
    reasoning_required: bool = False  # the field is required on every past tool turn, even if empty
    reasoning_always: bool = False  # the field is also required on every other past answer
    proofs: tuple[str, ...] = ()  # dialects whose proofs are understood natively
    bound_reasoning: bool = False  # blocks are bound to the prefix: ask for drop_block
    think_tags: bool = False  # visible text may contain <think>…</think>
    think_opened: bool = False  # with think_tags: the prompt template already wrote <think>, so only </think> appears

    # turns
    system_role: Literal["system", "developer"] = "system"
    system_text: bool = True  # there is a role for instructions; otherwise they precede the user's first words
    late_system: Literal["system", "developer", "reminder"] = "system"  # a system turn after the first other turn
    merge_system: bool = False  # only one system message, at the very start
    alternate: bool = False  # user and assistant must alternate
    string_content: bool = False  # text-only content as a plain string
    null_content: bool = True  # a turn with calls only has null content rather than an empty text
    empty_content: bool = True  # a past answer or a tool result may be an empty text
    user_required: bool = False  # at least one user turn is required
    user_after_results: bool = True  # a user turn may directly follow tool results
    result_names: bool = False  # a tool's result has to name the tool too
    instructions_required: bool = False  # a request without a system text is refused
    prefill: bool = True  # the last turn may be the assistant's
    keep_billing: bool = False  # this upstream expects Claude Code's billing line

    # tools
    tools: bool = True
    tools_limit: int | None = None  # maximum number of tools per request; None: unlimited
    past_tools: bool = False  # past calls are refused in a request without tools
    tool_choice: bool = True
    forced_tool: bool = True
    named_tool: bool = True  # a tool can be forced by name, not only "any"
    parallel_switch: bool = True
    custom_tools: bool = False
    namespaces: bool = False
    native_tools: tuple[str, ...] = ()  # types of vendor tools accepted unchanged
    deferred_tools: bool = False
    strict_tools: bool = True
    strict_explicit: bool = False  # `strict` must be set explicitly because it defaults to true
    tool_id: Literal["any", "anthropic", "mistral", "openai", "responses"] = "any"
    tool_name_limit: int = 64
    description_limit: int | None = None  # characters of a tool's description
    plain_properties: bool = False  # property names in tool schemas: letters, digits, "_", "." and "-", up to 64
    schema: Literal["any", "object", "anthropic", "openai", "gemini", "plain"] = "object"
    tool_result_media: bool = False  # tool results may contain images and files
    error_flag: bool = False  # a tool result can say that it is an error
    text_tool_calls: bool = False  # tool calls written as text are recognised

    # output
    structured: Literal["schema", "json_object", "tool", "none"] = "schema"
    closed_formats: bool = False  # only plain keywords, and objects allow no unlisted properties
    json_object: bool = True  # JSON output can be requested without a schema
    verbosity: bool = False

    # media
    images: bool = True
    images_limit: int | None = None  # in one request
    image_urls: bool = True
    image_types: tuple[str, ...] = ()  # accepted media types; empty: any
    documents: bool = True
    document_types: tuple[str, ...] = ()  # media types accepted as files; empty: any
    document_urls: bool = False
    text_documents: bool = False  # documents and search results given as text have a block type of their own
    refusals: bool = True  # past refusals have a block type of their own
    audio: bool = False

    # hints
    cache_hints: Literal["none", "cache_control", "breakpoint"] = "none"
    cache_key: bool = False
    user_field: Literal["none", "user", "safety_identifier", "metadata"] = "none"
    service_tier: bool = False
    metadata: bool = False
    store: bool = False

    # operations
    absent: tuple[str, ...] = ()  # what the provider offers but not for this model: completions, count_tokens, compact

    passes: bool = True  # takes what its own clients send as it is; otherwise it is translated

    # replies
    cuts_context: bool = False  # silently drops what exceeds the context window
    stream_usage: bool = True  # supports stream_options.include_usage
    stream_only: bool = False  # supports streaming only
    whole_only: bool = False  # does not support streaming
    # fields that the server rejects with 400; "*.name" is below the top level, "beta:name" in a header,
    # and "block:type" a type of content blocks
    refused_fields: tuple[str, ...] = ()
    extra_body: dict[str, Any] = {}  # merged into every request body

    def understands(self, proof: Proof | None) -> bool:
        """Whether the upstream itself can verify this proof, in which case it may be sent unchanged."""
        return proof is not None and proof.dialect == self.dialect and proof.dialect in self.proofs


class RenderContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a renderer must know of the client's request to shape the reply.

    `model` is the name to echo, `id` a fresh identifier without prefix, `created` unix seconds. `input_tokens` is a
    local estimate for dialects that report input at the start; `upstream_model` is the upstream's name of the model,
    which selects the token estimate. `request` is the client's own request: None if only its bytes pass, and without
    turns once they were counted. `body` is the request as received, empty unless a renderer needs it. `max_event` is
    the maximum size in bytes of one event of the upstream's stream. `legacy`: a Chat client that used `functions`.
    Token counts reported to the client are multiplied by `usage_scale`. `custom_tools` are the names of tools that the
    upstream may mistake for functions.
    """

    model: str
    id: str
    created: int
    include_usage: bool = False
    input_tokens: int = 0
    upstream_model: str | None = None
    several: bool = False
    legacy: bool = False
    request: Any = None
    body: bytes = b""
    max_event: int = 16 * 1024 * 1024
    usage_scale: float = 1.0
    custom_tools: frozenset[str] = frozenset()
