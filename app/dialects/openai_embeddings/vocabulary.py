"""The name of OpenAI's Embeddings."""

from __future__ import annotations

NAME = "openai_embeddings"
