"""The traits of Anthropic Messages."""

from __future__ import annotations

import re
from typing import Any

from app.conversation.tokens.image_tokens import CLAUDE
from app.conversation.traits import DialectTraits
from app.dialects.anthropic_messages.vocabulary import NAME

# Client names of fields of the neutral request, where they differ.
FIELDS = {
    "stop": "stop_sequences",
    "user": "metadata.user_id",
    "reasoning": "thinking",
    "effort": "output_config.effort",
    "output_format": "output_config.format",
    "parallel_tool_calls": "tool_choice.disable_parallel_tool_use",
    "cache": "cache_control",
    "previous_id": "thread",
}

# What its vendor supports, as fields of Capabilities.
TAKES: dict[str, Any] = {
    "default_output": 32000,
    "stop_blank": False,
    "temperature_max": 1.0,
    "top_k": True,
    "penalties": False,
    "seed": False,
    "logit_bias": False,
    "logprobs": False,
    "n": False,
    "reasoning_style": "budget",
    "efforts": [],
    "reasoning_excludes_sampling": True,
    "reasoning_excludes_forced_tool": True,
    "reasoning_must_lead": True,
    "proofs": [NAME],
    "late_system": "reminder",
    "native_tools": [
        "web_search_20250305",
        "web_search_20260209",
        "web_search_20260318",
        "web_fetch_20250910",
        "web_fetch_20260209",
        "web_fetch_20260309",
        "web_fetch_20260318",
        "code_execution_20250522",
        "code_execution_20250825",
        "code_execution_20260120",
        "code_execution_20260521",
        "bash_20250124",
        "text_editor_20250124",
        "text_editor_20250429",
        "text_editor_20250728",
        "memory_20250818",
        "computer_*",
        "browser_*",
        "advisor_*",
        "mcp_toolset",
    ],
    "strict_tools": False,
    "past_tools": True,
    "tool_id": "anthropic",
    "tool_name_limit": 128,
    "schema": "anthropic",
    "tool_result_media": True,
    "error_flag": True,
    "structured": "tool",
    "json_object": False,
    "image_types": ["image/jpeg", "image/png", "image/gif", "image/webp"],
    "document_types": ["application/pdf"],
    "document_urls": True,
    "text_documents": True,
    "refusals": False,
    "cache_hints": "cache_control",
    "user_field": "metadata",
    "service_tier": True,
}

TRAITS = DialectTraits(
    name=NAME,
    fields=FIELDS,
    path_marks=("/messages",),
    header_mark="anthropic-version",
    types_errors=True,
    resends_summarised=True,
    hosts=("api.anthropic.com",),
    takes=TAKES,
    image_rule=CLAUDE,
    means_empty=True,  # after a tool result there may be nothing left to say
    keeps_billing=True,
    idioms=frozenset(("anthropic_tools",)),
    needs_turn=True,
    strict_turns=True,
    always_strict=True,
    summarised="summarized",
    counts_input_first=True,
    dates_resets=True,
    fills_caches=True,
    limit_header="anthropic-ratelimit-{what}-{field}",
    needs_limit=True,
    fits_limit=True,
    pauses_turns=True,
    token_mark=re.compile(rb"content_block_delta"),
    opening=re.compile(rb"(?:event: (?:message_start|ping)\ndata: [^\n]*+\n\n)++"),
)
