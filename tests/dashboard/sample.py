"""Records such as a small team makes in a week, for pages that are looked at and measured."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator

from app.accounts.record import AttemptRecord, RequestRecord, Times
from app.conversation.response import Usage

HOUR = 3600
WEEK = 7 * 24 * HOUR
CLIENTS = (
    (
        "claude-cli/2.1.332",
        "claude-sonnet-4-5",
        "anthropic",
        "anthropic/claude-sonnet-4-5-20250929",
        "anthropic_messages",
    ),
    ("claude-cli/2.1.332", "claude-haiku-4-5", "local", "local/qwen3-coder:30b", "openai_chat"),
    ("codex_cli_rs/0.171.0", "gpt-5.5-codex", "openai", "openai/gpt-5.5-codex", "openai_responses"),
    ("OpenAI/Python 3.52", "gpt-5.5-mini", "openai", "openai/gpt-5.5-mini", "openai_chat"),
    ("curl/8.11", "qwen3-coder:30b", "local", "local/qwen3-coder:30b", "openai_chat"),
)
SPOKEN = ("anthropic_messages", "anthropic_messages", "openai_responses", "openai_chat", "openai_chat")
KEYS = ("ana", "ben", "ci")
FAULTS = (
    ("rate_limit", 429, "the upstream is busy: Rate limit reached for requests"),
    ("overloaded", 529, "the upstream is overloaded"),
    ("context_overflow", 400, "prompt is too long: 212,410 tokens > 200,000 maximum"),
)


def make_records(count: int, now: float, seconds: float = WEEK, *, tenant: str = "") -> Iterator[RequestRecord]:
    """`count` records over so many seconds before `now`, the oldest first; the same ones each time."""
    dice = random.Random(7)
    contexts: dict[str, int] = {}
    for number in range(count):
        received = now - seconds + seconds * number / count
        # People sleep.
        client = dice.choices(range(len(CLIENTS)), (40, 12, 25, 15, 8))[0]
        agent, model, provider, target, dialect = CLIENTS[client]
        key = KEYS[dice.choices(range(3), (5, 3, 2))[0]]
        session = f"{client}{key}-{int(received // (2 * HOUR))}" if client in (0, 2) else ""
        context = contexts.get(session, 18_000) + dice.randrange(300, 6000)
        contexts[session] = 24_000 if context > 185_000 else context
        first = int(400 * math.exp(dice.gauss(0.4, 0.5)))
        output = int(300 * math.exp(dice.gauss(0, 0.8)))
        end = first + output * 14
        fate = dice.random()
        common = {
            "id": f"{number + 1:032x}",
            "received": received,
            "agent": agent,
            "key": key,
            "tenant": tenant,
            "session": session,
            "path": "/v1/messages" if client < 2 else "/v1/responses" if client == 2 else "/v1/chat/completions",
            "dialect_in": SPOKEN[client],
            "dialect_out": dialect,
            "model": model,
            "rule": "models.small" if client == 1 else f"provider {provider}",
            "provider": provider,
            "target": target,
            "stream": True,
        }
        if fate < 0.025:
            error, status, message = FAULTS[number % 3]
            tried = AttemptRecord(target, status, error, message, 3, first)
            times = Times(3, first, None, None, first)
            yield RequestRecord(
                **common, attempts=(tried,), status=status, terminal="error", error=error, message=message,
                origin="upstream", times=times,
            )  # fmt: skip
            continue
        fresh = dice.randrange(200, 4000)
        usage = Usage(fresh=fresh, cache_read=context - fresh if session else 0, output=output)
        tried_twice = fate > 0.97
        attempts = (AttemptRecord(target, 200, started=3, ended=end),)
        if tried_twice:
            busy = AttemptRecord(target, 429, "rate_limit", "the upstream is busy", 3, first // 3, first // 4)
            attempts = (busy, AttemptRecord(target, 200, started=first // 2, ended=end))
        yield RequestRecord(
            **common, attempts=attempts, status=200, terminal="client_closed" if fate > 0.99 else "completed",
            times=Times(2, first - 40, first, first + 12, end), usage=usage,
            cost=None if provider == "local" else fresh * 3000 + usage.cache_read * 300 + output * 15_000,
            bytes_in=context * 4, bytes_out=output * 90,
            losses=("tools[3].cache_control",) if client == 1 else (),
            lowered=("max_tokens from 64000 to 16384",) if client == 1 else (),
        )  # fmt: skip
