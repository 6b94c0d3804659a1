"""The traits of legacy Completions."""

from __future__ import annotations

import re
from typing import Any

from app.conversation.traits import DialectTraits
from app.dialects.openai_completions.vocabulary import NAME

# What its vendor supports, as fields of Capabilities.
TAKES: dict[str, Any] = {
    "stop_limit": 4,
    "tools": False,
    "images": False,
    "documents": False,
}

TRAITS = DialectTraits(
    name=NAME,
    takes=TAKES,
    echoes_prompt=True,
    token_mark=re.compile(rb'"text": ?"[^"]'),
)
