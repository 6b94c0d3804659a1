"""The names that fields of the neutral request have in the client's own dialect, for reports of losses."""

from __future__ import annotations

from app.conversation.blocks import DialectName

# Only what differs from the neutral name is listed.
FIELDS: dict[DialectName, dict[str, str]] = {
    "anthropic_messages": {
        "stop": "stop_sequences",
        "user": "metadata.user_id",
        "reasoning": "thinking",
        "effort": "output_config.effort",
        "output_format": "output_config.format",
        "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
        "cache": "cache_control",
        "previous_id": "thread",
    },
    "openai_chat": {
        "max_tokens": "max_completion_tokens",
        "reasoning": "reasoning_effort",
        "effort": "reasoning_effort",
        "output_format": "response_format",
        "cache_key": "prompt_cache_key",
        "cache": "prompt_cache_breakpoint",
    },
    "openai_responses": {
        "max_tokens": "max_output_tokens",
        "effort": "reasoning.effort",
        "output_format": "text.format",
        "verbosity": "text.verbosity",
        "logprobs": "top_logprobs",
        "cache_key": "prompt_cache_key",
        "cache": "prompt_cache_breakpoint",
        "previous_id": "previous_response_id",
    },
    "openai_completions": {},
}


def field(dialect: DialectName, name: str) -> str:
    """What the client calls the neutral field `name`."""
    return FIELDS[dialect].get(name, name)
