"""The traits of Responses."""

from __future__ import annotations

import re
from typing import Any

from app.conversation.traits import DialectTraits
from app.dialects.openai_responses.items.custom_calls import find_custom_names
from app.dialects.openai_responses.vocabulary import NAME

# Client names of fields of the neutral request, where they differ.
FIELDS = {
    "max_tokens": "max_output_tokens",
    "effort": "reasoning.effort",
    "output_format": "text.format",
    "verbosity": "text.verbosity",
    "logprobs": "top_logprobs",
    "cache_key": "prompt_cache_key",
    "cache": "prompt_cache_breakpoint",
    "previous_id": "previous_response_id",
}

# What its vendor supports, as fields of Capabilities.
TAKES: dict[str, Any] = {
    "max_tokens_field": "max_output_tokens",
    "stop_limit": 0,
    "penalties": False,
    "seed": False,
    "logit_bias": False,
    "n": False,
    "reasoning_visibility": True,
    "proofs": [NAME],
    "system_role": "developer",
    "late_system": "developer",
    "custom_tools": True,
    "namespaces": True,
    "native_tools": [
        "web_search",
        "web_search_2025_08_26",
        "web_search_preview",
        "web_search_preview_2025_03_11",
        "file_search",
        "code_interpreter",
        "image_generation",
        "mcp",
        "computer",
        "computer_use_preview",
        "shell",
        "local_shell",
        "apply_patch",
        "programmatic_tool_calling",
    ],
    "strict_explicit": True,
    "tool_id": "responses",
    "tool_result_media": True,
    "image_types": ["image/jpeg", "image/png", "image/gif", "image/webp"],
    "document_urls": True,
    "prefill": False,
    "store": True,
}

TRAITS = DialectTraits(
    name=NAME,
    fields=FIELDS,
    path_marks=("/responses", "/conversations"),
    hosts=("api.openai.com",),
    takes=TAKES,
    idioms=frozenset(("openai_tools", "openai_settings", "service_tiers")),
    owner="openai",
    needs_turn=True,
    system_speaks=True,
    answers_follow=True,
    unique_items=True,
    names_allowed_tools=True,
    json_in_turns=True,
    seals_for_account=True,
    token_mark=re.compile(rb'\.delta"'),
    opening=re.compile(rb"(?:event: response\.(?:created|queued|in_progress)\ndata: [^\n]*+\n\n)++"),
    fails_by_events=True,
    custom_tools=find_custom_names,
)
