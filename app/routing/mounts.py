"""Splits a request's path into its mount (provider and session) and the plain path after it."""

from __future__ import annotations

from collections.abc import Mapping, Set

import msgspec

# The first segments of plain paths. Whatever precedes one of them is a mount.
ROOTS = frozenset(
    {"v1", "messages", "chat", "responses", "conversations", "completions", "embeddings", "models", "health", "ping",
     "metrics", "login", "callback", "logout", "dashboard", "permissions", "static", "api", ""}
)  # fmt: skip

# Mounts that stand for kinds of provider, preferred kind first, not for one provider's name. None: the routes decide.
KIND_MOUNTS: dict[tuple[str, ...], tuple[str, ...] | None] = {
    ("api", "codex"): ("codex",),
    ("codex",): ("codex",),
    ("api",): None,
    ("claude",): ("claude_cli", "anthropic"),
    ("anthropic",): None,
    ("openai",): None,
}

# Prefixes of paths below /api that are not mounts: Claude Code's own paths and the gateway's.
API_PATHS = ("/api/hello", "/api/event_logging/", "/api/models/full", "/api/config", "/api/logs/stream")


class Mounted(msgspec.Struct, frozen=True):
    """`path` is the plain path. `provider`, `session` and `model` are None if the request's path names none."""

    path: str
    provider: str | None = None
    session: str | None = None
    model: str | None = None


def strip_mount(path: str, kinds: Mapping[str, str], roots: Set[str] = ROOTS) -> Mounted | None:
    """Returns the plain path with its mount, or None if the path is neither plain nor below a known mount.

    `kinds` maps the name of each configured provider to its kind. `roots` are the first segments of plain paths.
    """
    path = tidy_path(path)
    segments = path.split("/")[1:]
    if segments[:2] == ["openai", "deployments"] and len(segments) > 3:
        mounted = strip_mount("/".join(["/openai", *segments[3:]]), kinds, roots)
        return mounted and msgspec.structs.replace(mounted, model=segments[2])  # as SDKs for Azure name it
    if segments[0] in roots and segments[0] != "api" and not _is_provider(segments, kinds):
        return Mounted(path)
    if path.startswith(API_PATHS):
        return Mounted(path)
    # A provider's name wins over a kind's mount: `/api/codex` is `[providers.codex]` if that is configured.
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
    """The first provider of the most preferred kind, whatever the order in the file."""
    return next((name for kind in wanted for name, own in kinds.items() if own == kind), None)


def tidy_path(path: str) -> str:
    """A path without empty segments and repeated `v1`, as base URLs with a surplus slash or version cause."""
    segments: list[str] = []
    for segment in path.split("/"):
        if segment and not (segment == "v1" and segments[-1:] == ["v1"]):
            segments.append(segment)
    return "/" + "/".join(segments)


def _is_provider(segments: list[str], kinds: Mapping[str, str]) -> bool:
    """Whether the first segment is a provider. If it shares its name with an endpoint ("chat"), /v1 follows it."""
    return segments[0] in kinds and "v1" in segments[1:3]


def _below(rest: list[str], provider: str | None, roots: Set[str]) -> Mounted | None:
    """The plain path after a mount. A session may precede it."""
    if not rest or rest[0] in roots:
        return Mounted("/" + "/".join(rest), provider)
    if len(rest) > 1 and rest[1] in roots:
        return Mounted("/" + "/".join(rest[1:]), provider, rest[0])
    return None
