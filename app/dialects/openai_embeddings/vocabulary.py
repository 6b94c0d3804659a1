"""The name of the Embeddings dialect."""

from __future__ import annotations

NAME = "openai_embeddings"
