"""The traits of Embeddings."""

from __future__ import annotations

from app.conversation.traits import DialectTraits
from app.dialects.openai_embeddings.vocabulary import NAME

TRAITS = DialectTraits(name=NAME)
