"""Records as a gateway at work makes them."""

from __future__ import annotations

import random
from collections.abc import Iterator

from app.accounts.record import AttemptRecord, RequestRecord, Times
from app.conversation.response import Usage

NOW = 1_790_000_000.0


def record(number: int = 1, **changes: object) -> RequestRecord:
    """One answered request; `changes` replace its fields."""
    fields: dict[str, object] = {
        "id": f"{number:024x}",
        "received": NOW + number,
        "key": "ana",
        "tenant": "t-ana",
        "agent": "claude-cli/2.1",
        "session": "5e1a",
        "path": "/v1/messages",
        "dialect_in": "anthropic_messages",
        "dialect_out": "openai_chat",
        "model": "claude-sonnet-4-6",
        "rule": "models.big",
        "provider": "oca",
        "target": "oca/gpt-4.1",
        "attempts": (AttemptRecord("oca/gpt-4.1", 200, started=2, ended=900),),
        "status": 200,
        "times": Times(routed=1, upstream_head=300, first_byte=310, end=900),
        "usage": Usage(fresh=1000, cache_read=4000, output=200),
        "cost": 5_600_000,
    }
    return RequestRecord(**{**fields, **changes})  # type: ignore[arg-type]


def many(count: int, *, days: int = 30, seed: int = 7) -> Iterator[RequestRecord]:
    """Requests of a team of 20, each with one agent and three models, the oldest first; every 20th failed."""
    draw = random.Random(seed)
    agents = ("claude-cli/2.1", "codex/0.169", "openai-python/3.52", "cline/4")
    providers = ("oca", "anthropic", "openai")
    step = days * 86_400 / count
    for number in range(count):
        person = draw.randrange(20)
        model = person % 10 + draw.randrange(3)
        failed = number % 20 == 0
        yield record(
            number,
            received=NOW - days * 86_400 + number * step,
            key=f"user-{person}",
            tenant=f"t-user-{person}",
            agent=agents[person % 4],
            session=f"user-{person}-{number // 600:08x}-4f7a-9c1d-{number // 600:012x}",
            model=f"model-{model}",
            provider=providers[model % 3],
            target=f"{providers[model % 3]}/model-{model}",
            status=502 if failed else 200,
            terminal="error" if failed else "completed",
            error="overloaded" if failed else "",
            message="the upstream is overloaded" if failed else "",
        )
