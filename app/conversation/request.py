"""The neutral request: everything that a client of any dialect can ask for."""

from __future__ import annotations

from typing import Any, ClassVar, Literal, NamedTuple

import msgspec

from app.conversation.blocks import Block, CacheHint, DialectName, Text
from app.conversation.losses import Severity

Role = Literal["user", "assistant", "system"]
Effort = Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"]
EFFORTS: tuple[Effort, ...] = ("none", "minimal", "low", "medium", "high", "xhigh", "max")

# What clients write, in lower case: our own words and synonyms; None means no particular effort.
EFFORT_NAMES: dict[str, Effort | None] = {
    **{effort: effort for effort in EFFORTS},
    "off": "none",
    "disabled": "none",
    "ultra": "max",
    "auto": None,
    "default": None,
}
# For upstreams that require a system text, if the client gave none.
DEFAULT_INSTRUCTIONS = "You are a helpful assistant."
# The prompt for the summary that replaces the history.
SUMMARY_PROMPT = (
    "Summarize everything above for whoever has to continue this work and will see only your summary and what the user "
    "said. Keep the goal, the decisions and their reasons, what was done and found (files, commands, names, numbers, "
    "errors), what is still open, and the next step. Answer with the summary alone."
)
UNKNOWN_EFFORT = "unknown effort: the model decides"


class Turn(msgspec.Struct, frozen=True):
    """One speaker's blocks, in order. A tool result is a block of a user turn.

    `effort` is a setting that a system turn applies from here on; `path` names the turn in the client's request.
    """

    role: Role
    blocks: tuple[Block, ...]
    name: str | None = None
    effort: str | None = None
    clear_at: str | None = None
    path: str = ""


class FunctionTool(msgspec.Struct, frozen=True):
    """A tool that the client runs, with JSON arguments. `schema` is None if the client gave none."""

    name: str
    description: str | None = None
    schema: dict[str, Any] | None = None
    strict: bool | None = None
    namespace: str | None = None
    deferred: bool = False
    examples: tuple[Any, ...] = ()
    cache: CacheHint | None = None
    extensions: dict[str, Any] = {}


class CustomTool(msgspec.Struct, frozen=True):
    """A tool that the client runs, with free text as input. `grammar` is (syntax, definition)."""

    name: str
    description: str | None = None
    grammar: tuple[str, str] | None = None
    namespace: str | None = None
    deferred: bool = False
    extensions: dict[str, Any] = {}


class NativeTool(msgspec.Struct, frozen=True):
    """A tool whose schema the vendor defines, run by the upstream (web search …) or by the client (shell …).

    `type` is the vendor's name for it, `definition` its whole object, `server` whether the upstream runs it. It has no
    namespace.
    """

    namespace: ClassVar[None] = None

    dialect: DialectName
    type: str
    name: str
    definition: dict[str, Any]
    server: bool


Tool = FunctionTool | CustomTool | NativeTool


class ToolChoice(msgspec.Struct, frozen=True):
    """`mode` "tool" forces the single tool in `names`; "auto" and "any" are limited to `names` unless empty."""

    mode: Literal["auto", "any", "none", "tool"]
    names: tuple[tuple[str | None, str], ...] = ()


class ReasoningSettings(msgspec.Struct, frozen=True):
    """How much to think and how much of it to show. `budget` is in tokens.

    `mode` "on" means the client asked for thinking, "off" that it forbade it, "between_tools" that only short notes
    between tool calls are allowed, None that it said nothing. `visibility` is "summarized", "omitted", "updates",
    "concise", "detailed", "auto" or None.
    """

    mode: Literal["on", "off", "between_tools"] | None = None
    effort: Effort | None = None
    budget: int | None = None
    visibility: str | None = None


class Sampling(msgspec.Struct, frozen=True):
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    frequency_penalty: float | None = None
    presence_penalty: float | None = None
    seed: int | None = None
    logit_bias: dict[str, float] | None = None


class OutputFormat(msgspec.Struct, frozen=True):
    kind: Literal["text", "json_object", "json_schema"]
    schema: dict[str, Any] | None = None
    name: str | None = None
    description: str | None = None
    strict: bool | None = None


class State(msgspec.Struct, frozen=True):
    """What the server should store or recall. `store` None means the dialect's default."""

    store: bool | None = None
    previous_id: str | None = None
    conversation: str | None = None
    background: bool = False


class Extension(msgspec.Struct, frozen=True):
    """A field that only `dialect` knows. If it cannot be carried, its loss is reported with `severity` and `why`."""

    dialect: DialectName
    name: str
    value: Any
    severity: Severity
    why: str = "only the client's own dialect has this field"


class FieldLoss(NamedTuple):
    """The loss of a field that the neutral model lacks. `harmless` values request nothing special; a value that
    contains the JSON in `grave` would make the answer wrong."""

    severity: Severity
    why: str
    harmless: tuple[object, ...] = ()
    grave: bytes | None = None

    def of(self, dialect: DialectName, name: str, value: Any) -> Extension:
        """The field with this loss."""
        severity: Severity = "ignorable" if value in self.harmless else self.severity
        if self.grave is not None and self.grave in msgspec.json.encode(value):
            severity = "wrong"
        return Extension(dialect, name, value, severity, self.why)


UNKNOWN_FIELD = FieldLoss("ignorable", "only the client's own dialect has this field")


class Request(msgspec.Struct, frozen=True, kw_only=True):
    """One request to a model. Limits are in tokens; an absent value means the client said nothing.

    `compact` asks for a compaction block that replaces the history, instead of an answer.
    """

    dialect: DialectName
    model: str
    turns: tuple[Turn, ...]
    instructions: tuple[Text, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: ToolChoice | None = None
    parallel_tool_calls: bool | None = None
    reasoning: ReasoningSettings = ReasoningSettings()
    sampling: Sampling = Sampling()
    max_tokens: int | None = None
    stop: tuple[str, ...] = ()
    output_format: OutputFormat | None = None
    verbosity: str | None = None
    n: int = 1
    logprobs: int | None = None
    user: str | None = None
    cache_key: str | None = None
    cache: CacheHint | None = None
    service_tier: str | None = None
    metadata: dict[str, Any] | None = None
    state: State = State()
    compact: bool = False
    stream: bool = False
    include_usage: bool = False
    betas: tuple[str, ...] = ()
    extensions: tuple[Extension, ...] = ()
