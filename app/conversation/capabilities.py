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
    first_party: bool = False  # the vendor's own service: gets the fields and headers meant for it alone

    # limits
    max_tokens_field: str = "max_tokens"  # chat: or "max_completion_tokens"
    max_output: int | None = None  # hard limit of the answer
    default_output: int | None = None  # sent when the client names none
    context_window: int | None = None
    stop_limit: int | None = None  # number of stop sequences; 0: none at all; None: any
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
    reasoning_by_default: bool = False  # it thinks although nobody asked
    reasoning_on_fields: dict[str, Any] = {}  # top-level fields that say "think", beside the effort
    reasoning_off_fields: dict[str, Any] = {}  # and those that say "do not think"
    reasoning_excludes_sampling: bool = False  # with reasoning on: no temperature, top_p, top_k
    reasoning_excludes_forced_tool: bool = False
    reasoning_excludes_tools: bool = False  # function tools are refused while it thinks
    reasoning_must_lead: bool = False  # budget-style: the last tool turn must start with a valid proof
    reasoning_visibility: bool = False  # the request says whether thinking is shown (display / summary)
    reasoning_replay: ReasoningField = "none"  # chat: where past reasoning goes
    unsigned_call: dict[str, Any] = {}  # chat: `extra_content` of past calls that have no proof, where one is demanded
    reasoning_required: bool = False  # the field must be there on every past tool turn, empty if need be
    reasoning_always: bool = False  # and on any other past answer
    proofs: tuple[str, ...] = ()  # dialects whose proofs are understood natively
    bound_reasoning: bool = False  # blocks are bound to the prefix: ask for drop_block
    think_tags: bool = False  # visible text may hold <think>…</think>
    think_opened: bool = False  # with think_tags: the template has written <think> already, only its end is seen

    # turns
    system_role: Literal["system", "developer"] = "system"
    system_text: bool = True  # there is a role for instructions; else they lead the user's first words
    late_system: Literal["system", "developer", "reminder"] = "system"  # a system turn after the first other turn
    merge_system: bool = False  # exactly one system message at the very start
    alternate: bool = False  # user and assistant must alternate
    string_content: bool = False  # text-only content as a plain string
    null_content: bool = True  # a turn of calls alone has null for its content, not an empty text
    empty_content: bool = True  # a past answer or a result may be an empty text
    user_required: bool = False  # somebody must speak as the user
    user_after_results: bool = True  # a user's words may directly follow tool results
    instructions_required: bool = False  # a request without a system text is refused
    prefill: bool = True  # the last turn may be the assistant's
    keep_billing: bool = False  # Claude Code's billing line is meant for this upstream

    # tools
    tools: bool = True
    tools_limit: int | None = None  # the most tools of one request; None: any number
    tool_choice: bool = True
    forced_tool: bool = True
    named_tool: bool = True  # a tool can be forced by its name, not only any of those declared
    parallel_switch: bool = True
    custom_tools: bool = False
    namespaces: bool = False
    native_tools: tuple[str, ...] = ()  # types of vendor tools taken as they are
    deferred_tools: bool = False
    strict_tools: bool = True
    strict_explicit: bool = False  # strict must be said, for its default is on
    tool_id: Literal["any", "anthropic", "mistral", "responses"] = "any"
    tool_name_limit: int = 64
    description_limit: int | None = None  # characters of what is said of a tool
    plain_properties: bool = False  # names of tools' properties: letters, digits, "_", "." and "-", up to 64
    schema: Literal["any", "object", "anthropic", "openai", "gemini", "plain"] = "object"
    tool_result_media: bool = False  # images and files may stand inside a tool result
    error_flag: bool = False  # a tool result can say that it is an error
    text_tool_calls: bool = False  # calls written as text are recognised

    # output
    structured: Literal["schema", "json_object", "tool", "none"] = "schema"
    closed_formats: bool = False  # of plain keywords, and no object takes properties that are not listed
    json_object: bool = True  # any JSON can be asked for without a schema
    verbosity: bool = False

    # media
    images: bool = True
    image_urls: bool = True
    image_types: tuple[str, ...] = ()  # media types taken; empty: any
    documents: bool = True
    document_types: tuple[str, ...] = ()  # media types taken as files; empty: any
    document_urls: bool = False
    text_documents: bool = False  # documents and search results given as text are blocks of their own
    refusals: bool = True  # past refusals are blocks of their own
    audio: bool = False

    # hints
    cache_hints: Literal["none", "cache_control", "breakpoint"] = "none"
    cache_key: bool = False
    user_field: Literal["none", "user", "safety_identifier", "metadata"] = "none"
    service_tier: bool = False
    metadata: bool = False
    store: bool = False

    # operations
    absent: tuple[
        str, ...
    ] = ()  # what the provider offers, but not with this model: completions, count_tokens, compact

    # replies
    cuts_context: bool = False  # what does not fit into the context is left out, without a word
    stream_usage: bool = True  # knows stream_options.include_usage
    stream_only: bool = False  # answers streams only
    whole_only: bool = False  # answers no streams
    # fields that the server answers with 400; "*.name" stands below the top, "beta:name" in a header
    refused_fields: tuple[str, ...] = ()
    extra_body: dict[str, Any] = {}  # merged into every request body

    def understands(self, proof: Proof | None) -> bool:
        """Whether the upstream itself can check this proof, so that it may be sent as it is."""
        return proof is not None and proof.dialect == self.dialect and proof.dialect in self.proofs


class RenderContext(msgspec.Struct, frozen=True, kw_only=True):
    """What a renderer must know of the client's request to shape the reply.

    `model` is the name to echo, `id` a fresh identifier without prefix, `created` unix seconds. `input_tokens` is a
    local estimate for dialects that report input at the start, `upstream_model` the upstream's name of the model, by
    which tokens are estimated. `request` is the client's own request, None where only its bytes pass, and without turns
    where they were counted; `body` is it as it came, empty where no renderer asks. `max_event` is the most bytes that
    one event of the upstream's stream may have. A `legacy` client of Chat asked with `functions`. The
    client is told `usage_scale` times what was counted.
    """

    model: str
    id: str
    created: int
    include_usage: bool = False
    input_tokens: int = 0
    upstream_model: str | None = None
    show_reasoning: bool = True
    several: bool = False
    legacy: bool = False
    request: Any = None
    body: bytes = b""
    max_event: int = 16 * 1024 * 1024
    usage_scale: float = 1.0
