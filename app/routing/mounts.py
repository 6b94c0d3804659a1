"""Parses a mount off a request's path: provider and session, and the plain path behind them."""

from __future__ import annotations

from collections.abc import Mapping, Set

import msgspec

# The first segments of plain paths; everything before one of them is a mount.
ROOTS = frozenset(
    {"v1", "messages", "chat", "responses", "conversations", "completions", "embeddings", "models", "health", "ping",
     "metrics", "login", "callback", "logout", "dashboard", "permissions", "static", "api", ""}
)  # fmt: skip

# Mounts that name a kind of provider, the most wanted first, not one by its name; None: as the routes say.
KIND_MOUNTS: dict[tuple[str, ...], tuple[str, ...] | None] = {
    ("api", "codex"): ("codex",),
    ("codex",): ("codex",),
    ("api",): None,
    ("claude",): ("claude_cli", "anthropic"),
    ("anthropic",): None,
}

# What begins paths below /api that are Claude Code's own, or the gateway's, and no mount.
API_PATHS = ("/api/hello", "/api/event_logging/", "/api/models/full", "/api/config", "/api/logs/stream")


class Mounted(msgspec.Struct, frozen=True):
    """`path` is plain, `provider` and `session` are None where the path names none."""

    path: str
    provider: str | None = None
    session: str | None = None


def strip_mount(path: str, kinds: Mapping[str, str], roots: Set[str] = ROOTS) -> Mounted | None:
    """The mount of a path; None when it has none. `kinds` are the kinds of the configured providers, by name; `roots`
    the first segments of plain paths."""
    path = tidy_path(path)
    segments = path.split("/")[1:]
    if segments[0] in roots and segments[0] != "api" and not _is_provider(segments, kinds):
        return Mounted(path)
    if path.startswith(API_PATHS):
        return Mounted(path)
    # A provider goes before the mount of a kind: `/api/codex` is `[providers.codex]` where there is one.
    if segments[0] == "api" and "api" not in kinds and len(segments) > 1 and segments[1] in kinds:
        return _below(segments[2:], segments[1], roots)
    for length in (2, 1):
        head = tuple(segments[:length])
        rest = segments[length:]
        if head in KIND_MOUNTS and not (length == 1 and head[0] in kinds):
            wanted = KIND_MOUNTS[head]
            provider = _find_kind(wanted or (), kinds)
            if wanted is not None and provider is None:
                return None
            return _below(rest, provider, roots)
    return _below(segments[1:], segments[0], roots) if segments[0] in kinds else None


def _find_kind(wanted: tuple[str, ...], kinds: Mapping[str, str]) -> str | None:
    """The first provider of the most wanted kind, whatever their order in the file."""
    return next((name for kind in wanted for name, own in kinds.items() if own == kind), None)


def tidy_path(path: str) -> str:
    """A path without what base URLs with a slash or a version too many leave in it."""
    segments: list[str] = []
    for segment in path.split("/"):
        if segment and not (segment == "v1" and segments[-1:] == ["v1"]):
            segments.append(segment)
    return "/" + "/".join(segments)


def _is_provider(segments: list[str], kinds: Mapping[str, str]) -> bool:
    """A provider may be called like an endpoint, say "chat"; what stands before /v1 is the provider then."""
    return segments[0] in kinds and "v1" in segments[1:3]


def _below(rest: list[str], provider: str | None, roots: Set[str]) -> Mounted | None:
    """A session may stand between the mount and the plain path."""
    if not rest or rest[0] in roots:
        return Mounted("/" + "/".join(rest), provider)
    if len(rest) > 1 and rest[1] in roots:
        return Mounted("/" + "/".join(rest[1:]), provider, rest[0])
    return None
