"""The repair for each field that may be refused: leave it out, or better, do what it is for in another way."""

from __future__ import annotations

from typing import Any

from app.dialects.registry import DIALECTS
from app.gateway.failures.repairs.change import Change, Repair
from app.gateway.failures.repairs.refusal import Refusal

# The capability that governs a field, if there is one: then the adaptation can do better than leave the field out.
_NO_REASONING: dict[str, Any] = {"reasoning_style": "none", "reasoning_on_fields": {}, "reasoning_off_fields": {}}
CAPABILITIES: dict[str, dict[str, Any]] = {
    "temperature": {"temperature": False},
    "top_p": {"top_p": False},
    "top_k": {"top_k": False},
    "presence_penalty": {"penalties": False},
    "frequency_penalty": {"penalties": False},
    "seed": {"seed": False},
    "logit_bias": {"logit_bias": False},
    "logprobs": {"logprobs": False},
    "top_logprobs": {"logprobs": False},
    "stream_options": {"stream_usage": False},
    "include_usage": {"stream_usage": False},
    "reasoning_effort": _NO_REASONING,
    "reasoning": _NO_REASONING,
    "thinking": _NO_REASONING,
    "enable_thinking": _NO_REASONING,
    "chat_template_kwargs": _NO_REASONING,
    "budget_tokens": _NO_REASONING,
    "parallel_tool_calls": {"parallel_switch": False},
    "disable_parallel_tool_use": {"parallel_switch": False},
    "strict": {"strict_tools": False, "strict_explicit": False},
    "cache_control": {"cache_hints": "none"},
    "prompt_cache_breakpoint": {"cache_hints": "none"},
    "prompt_cache_key": {"cache_key": False},
    "stop": {"stop_limit": 0},
    "stop_sequences": {"stop_limit": 0},
    "service_tier": {"service_tier": False},
    "verbosity": {"verbosity": False},
    "store": {"store": False},
    "user": {"user_field": "none"},
    "safety_identifier": {"user_field": "none"},
    "reasoning_content": {"reasoning_replay": "none", "reasoning_required": False},
    "reasoning_details": {"reasoning_replay": "none", "reasoning_required": False},
    "thinking_blocks": {"reasoning_replay": "none", "reasoning_required": False},
    "extra_content": {"unsigned_call": {}},
    "namespace": {"namespaces": False},
}
# Fields for which changing the capability is enough: passing requests consult it too.
ASKED = frozenset({"temperature", "top_p", "presence_penalty", "frequency_penalty", "seed", "logit_bias", "logprobs",
                   "top_logprobs", "stream_options", "include_usage"})  # fmt: skip

_OTHER_LIMIT = {"max_tokens": "max_completion_tokens", "max_completion_tokens": "max_tokens"}


def repair_of_field(name: str, place: str, refusal: Refusal) -> Repair | None:
    """The repair without a field; `place` is the prefix for its place."""
    capabilities = refusal.capabilities
    traits = DIALECTS[capabilities.dialect].TRAITS
    match name:
        case "max_tokens" | "max_completion_tokens" if traits.renamed_limit:
            other = Repair("limit", Change({"max_tokens_field": _OTHER_LIMIT[name]}))
            return other if capabilities.max_tokens_field == name else Repair(name, Change(refused=(name,)))
        case "max_tokens" if traits.needs_limit:
            return None
        case "tool_choice" if b'"none"' in refusal.field("tool_choice"):
            return Repair("no choice", Change({"tool_choice": False}, ("tool_choice",)))
        case "tool_choice":
            if refusal.field("tool_choice").startswith(b"{") and capabilities.named_tool:
                return Repair("named tool", Change({"named_tool": False}))
            if capabilities.forced_tool:
                return Repair("forced tool", Change({"named_tool": False, "forced_tool": False}, ("tool_choice",)))
            return Repair("tool_choice", Change({"tool_choice": False}, ("tool_choice",)))
        case "response_format" | "json_schema" | "output_format":
            return repair_of_format(refusal)
        case "stream":
            return None
    change = CAPABILITIES.get(name, {})
    without = Repair(name, Change(change))
    if name in ASKED and without.is_needed(capabilities):
        return without
    return Repair(name, Change(change, (f"{place}{name}",)))


def repair_of_format(refusal: Refusal) -> Repair:
    """A weaker form of the answer's format: any JSON or a tool instead of a schema, then words only."""
    if refusal.capabilities.structured == "schema" and asks_schema(refusal):
        weaker = "tool" if refusal.field("output_config") or refusal.field("output_format") else "json_object"
        return Repair("json_schema", Change({"structured": weaker}))
    return Repair("response_format", Change({"structured": "none", "json_object": False}, ("response_format",)))


def asks_schema(refusal: Refusal) -> bool:
    """Whether the request gives a schema for its answer."""
    formats = ("response_format", "output_config", "output_format", "text")
    return any(b'"json_schema"' in refusal.field(name) for name in formats)
