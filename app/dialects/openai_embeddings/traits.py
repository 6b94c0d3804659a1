"""What the rest of the program must know of this dialect."""

from __future__ import annotations

from app.conversation.traits import DialectTraits
from app.dialects.openai_embeddings.vocabulary import NAME

TRAITS = DialectTraits(name=NAME)
