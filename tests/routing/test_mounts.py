"""The mounts: which provider and session a path names, and what is left of it."""

from __future__ import annotations

import pytest

from app.routing.mounts import Mounted, strip_mount

KINDS = {"local": "openai", "work": "oca", "mine": "anthropic", "plus": "codex"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v1/messages", Mounted("/v1/messages")),
        ("/v1/v1/messages", Mounted("/v1/messages")),
        ("/local/v1/chat/completions", Mounted("/v1/chat/completions", "local")),
        ("/local/chat/completions", Mounted("/chat/completions", "local")),
        ("/local/s-1/v1/messages", Mounted("/v1/messages", "local", "s-1")),
        ("/api/v1/messages", Mounted("/v1/messages")),
        ("/api/codex/responses", Mounted("/responses", "plus")),
        ("/api/codex/s-2/responses", Mounted("/responses", "plus", "s-2")),
        ("/api/codex/v1/chat/completions", Mounted("/v1/chat/completions", "plus")),
        ("/codex/v1/models", Mounted("/v1/models", "plus")),
        ("/claude/v1/messages", Mounted("/v1/messages", "mine")),
        ("/claude/s-3/v1/chat/completions", Mounted("/v1/chat/completions", "mine", "s-3")),
        ("/api/hello", Mounted("/api/hello")),
        ("/api/event_logging/batch", Mounted("/api/event_logging/batch")),
        ("/", Mounted("/")),
        ("/claude", Mounted("/", "mine")),
        ("/anthropic/v1/messages", Mounted("/v1/messages")),
        ("/anthropic/v1/models", Mounted("/v1/models")),
        ("/openai/v1/responses", Mounted("/v1/responses")),
        ("/openai/responses", Mounted("/responses")),
        ("/openai/deployments/gpt-5/chat/completions", Mounted("/chat/completions", model="gpt-5")),
        ("/openai/deployments/gpt-5/embeddings", Mounted("/embeddings", model="gpt-5")),
        ("/claude/api/hello", Mounted("/api/hello", "mine")),
        ("/api/event_logging/v2/batch", Mounted("/api/event_logging/v2/batch")),
        ("//v1/messages", Mounted("/v1/messages")),
        ("/v1//messages/", Mounted("/v1/messages")),
        ("/v1/v1/v1/chat/completions", Mounted("/v1/chat/completions")),
        ("/local/v1/v1/models/", Mounted("/v1/models", "local")),
    ],
)
def test_a_mount_is_taken_off_its_path(path: str, expected: Mounted) -> None:
    assert strip_mount(path, KINDS) == expected


@pytest.mark.parametrize("path", ["/nobody/v1/messages", "/nobody", "/local/too/many/v1/messages"])
def test_an_unknown_mount_is_no_mount(path: str) -> None:
    assert strip_mount(path, KINDS) is None


def test_a_mount_of_a_kind_that_nobody_configured_is_no_mount() -> None:
    assert strip_mount("/api/codex/responses", {"local": "openai"}) is None


def test_a_provider_may_be_called_like_a_mount_of_a_kind() -> None:
    assert strip_mount("/claude/v1/messages", {"claude": "openai"}) == Mounted("/v1/messages", "claude")


def test_the_paths_of_azure_lead_to_a_provider_of_that_name() -> None:
    path = "/openai/deployments/gpt-5/chat/completions"

    assert strip_mount(path, {"openai": "openai"}) == Mounted("/chat/completions", "openai", model="gpt-5")


def test_a_provider_may_be_called_like_an_endpoint() -> None:
    kinds = {"chat": "openai"}

    assert strip_mount("/chat/v1/chat/completions", kinds) == Mounted("/v1/chat/completions", "chat")
    assert strip_mount("/chat/completions", kinds) == Mounted("/chat/completions")


CODEX = {"codex": "codex", "local": "openai"}


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/api/codex/responses", Mounted("/responses", "codex")),
        ("/api/codex/s-2/responses", Mounted("/responses", "codex", "s-2")),
        ("/api/codex/s-2/chat/completions", Mounted("/chat/completions", "codex", "s-2")),
        ("/api/codex/v1/chat/completions", Mounted("/v1/chat/completions", "codex")),
        ("/api/codex/v1/models", Mounted("/v1/models", "codex")),
        ("/codex/responses", Mounted("/responses", "codex")),
        ("/api/local/v1/models", Mounted("/v1/models", "local")),
        ("/api/v1/messages", Mounted("/v1/messages")),
        ("/api/hello", Mounted("/api/hello")),
    ],
)
def test_a_provider_named_like_its_mount_swallows_no_endpoint(path: str, expected: Mounted) -> None:
    assert strip_mount(path, CODEX) == expected


@pytest.mark.parametrize("kinds", [{"a": "anthropic", "c": "claude_cli"}, {"c": "claude_cli", "a": "anthropic"}])
def test_the_mount_of_claude_is_the_program_where_there_is_one(kinds: dict[str, str]) -> None:
    assert strip_mount("/claude/v1/messages", kinds) == Mounted("/v1/messages", "c")
