"""What the rest of the program must know of this dialect."""

from __future__ import annotations

import re

from app.conversation.traits import DialectTraits

TRAITS = DialectTraits(
    counts_input_first=True,
    fills_caches=True,
    needs_limit=True,
    pauses_turns=True,
    token_mark=re.compile(rb"content_block_delta"),
)
