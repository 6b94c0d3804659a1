"""What the rest of the program must know of this dialect."""

from __future__ import annotations

import re

from app.conversation.traits import DialectTraits

TRAITS = DialectTraits(
    forgets_reasoning=True,
    renamed_limit=True,
    token_mark=re.compile(rb'"(?:content|reasoning_content|reasoning|arguments|refusal)": ?"[^"]'),
)
