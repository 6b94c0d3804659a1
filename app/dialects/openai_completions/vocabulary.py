"""Types and tables of legacy Completions.

Source: OpenAI API reference, "Completions".
"""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

import msgspec

from app.dialects.openai_chat.vocabulary import FINISH_NAMES as CHAT_NAMES

NAME: Final[Literal["openai_completions"]] = "openai_completions"

# Tokens that a server generates if the client sets no limit.
DEFAULT_MAX_TOKENS = 16
# Maximum answers requested one by one for a single request.
MAX_ANSWERS = 16

Penalty = Annotated[float, msgspec.Meta(ge=-2, le=2)]


class StreamOptions(msgspec.Struct):
    include_usage: bool | None = None


class WireRequest(msgspec.Struct):
    """Every field of a request."""

    model: str
    prompt: str | list[Any] | None = None
    suffix: str | None = None
    max_tokens: Annotated[int, msgspec.Meta(ge=0)] | None = None
    temperature: Annotated[float, msgspec.Meta(ge=0, le=2)] | None = None
    top_p: Annotated[float, msgspec.Meta(ge=0, le=1)] | None = None
    n: Annotated[int, msgspec.Meta(ge=1, le=128)] | None = None
    best_of: Annotated[int, msgspec.Meta(ge=0, le=20)] | None = None
    echo: bool | None = None
    logprobs: Annotated[int, msgspec.Meta(ge=0, le=5)] | None = None
    stop: str | list[str] | None = None
    presence_penalty: Penalty | None = None
    frequency_penalty: Penalty | None = None
    logit_bias: dict[str, float] | None = None
    seed: int | None = None
    user: str | None = None
    stream: bool | None = None
    stream_options: StreamOptions | None = None


# There are no tools in this dialect, so a call can only be the end.
FINISH_NAMES = {**CHAT_NAMES, "tool_calls": "stop"}
