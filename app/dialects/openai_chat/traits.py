"""The traits of Chat Completions."""

from __future__ import annotations

import re
from typing import Any

from app.conversation.traits import DialectTraits
from app.dialects.openai_chat.reasoning import read_signed
from app.dialects.openai_chat.vocabulary import NAME

# Client names of fields of the neutral request, where they differ.
FIELDS = {
    "max_tokens": "max_completion_tokens",
    "reasoning": "reasoning_effort",
    "effort": "reasoning_effort",
    "output_format": "response_format",
    "cache_key": "prompt_cache_key",
    "cache": "prompt_cache_breakpoint",
}

# What its vendor supports, as fields of Capabilities.
TAKES: dict[str, Any] = {
    "stop_limit": 4,
    "top_k": True,
    "documents": False,
    "refusals": False,  # others than OpenAI know no such field, and refuse a message without content
    "document_types": ["application/pdf"],
}

TRAITS = DialectTraits(
    name=NAME,
    fields=FIELDS,
    path_marks=("/chat/completions",),
    foreign_proofs={"anthropic_messages": read_signed},
    hosts=("api.openai.com",),
    takes=TAKES,
    idioms=frozenset(("chat_search", "openai_settings", "service_tiers")),
    hints_known_to=frozenset(("openai_responses",)),
    owner="openai",
    names_allowed_tools=True,
    forgets_reasoning=True,
    renamed_limit=True,
    opening=re.compile(
        rb'\A(?:data: (?>[^\n]*?"delta": ?\{)"role": ?"assistant"'
        rb'(?:, ?"(?:content|refusal|reasoning\w*)": ?(?:""|null))*+\}[^\n]*+\n\n)++'
    ),
    token_mark=re.compile(rb'"(?:content|reasoning_content|reasoning|arguments|refusal)": ?"[^"]'),
)
