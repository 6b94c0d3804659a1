"""What the rest of the program must know of this dialect."""

from __future__ import annotations

import re

from app.conversation.traits import DialectTraits

TRAITS = DialectTraits(
    token_mark=re.compile(rb'\.delta"'),
)
