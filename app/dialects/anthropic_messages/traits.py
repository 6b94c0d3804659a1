"""What the rest of the program must know of this dialect."""

from __future__ import annotations

import re

from app.conversation.traits import DialectTraits

TRAITS = DialectTraits(
    counts_input_first=True,
    dates_resets=True,
    fills_caches=True,
    limit_header="anthropic-ratelimit-{what}-{field}",
    needs_limit=True,
    pauses_turns=True,
    token_mark=re.compile(rb"content_block_delta"),
)
