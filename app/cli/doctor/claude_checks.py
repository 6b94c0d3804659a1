"""Checks Claude Code: which of its many settings sources decides where requests go."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import NamedTuple
from urllib.parse import urlsplit

from app.cli.doctor.finding import Finding, Subject
from app.cli.launcher.claude import MODEL_VARIABLES, OTHER_SERVICES
from app.cli.launcher.plan import CLAUDE_NAMES, SMALL_CLAUDE_NAME, find_window
from app.cli.serving.start_screen import base_url
from app.errors import DragomanError
from app.json_values import as_object
from app.settings import Settings
from app.settings.checks.keys import hash_key

NAME = "Claude Code"
RUN = "dragoman run claude"
# The administrator's settings files, which override all others.
MANAGED = (
    Path("/etc/claude-code/managed-settings.json"),
    Path("/Library/Application Support/ClaudeCode/managed-settings.json"),
)
BASE, TOKEN, KEY = "ANTHROPIC_BASE_URL", "ANTHROPIC_AUTH_TOKEN", "ANTHROPIC_API_KEY"
# The model in a settings file, beside its variables. It counts only if the variable does not say another.
MODEL, MODEL_SETTING = "ANTHROPIC_MODEL", '"model"'
# Claude Code's own words for several models, which it never sends.
ALIASES = frozenset({"", "best", "default", "inherit", "opusplan"})
WINDOW = "CLAUDE_CODE_AUTO_COMPACT_WINDOW"
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})
# Maximum characters read of a settings file.
LARGEST = 1 << 20


class Source(NamedTuple):
    """A place that can set variables; `helper` is its program that prints a key."""

    place: str
    variables: Mapping[str, str]
    helper: str | None = None


def check_claude(subject: Subject) -> Iterator[Finding]:
    sources, broken = read_sources(subject)
    yield from broken
    if subject.settings is None:
        return
    winners = {name: _find_winner(sources, name) for name in (BASE, TOKEN, KEY, WINDOW, *OTHER_SERVICES)}
    yield from _check_base(subject, sources, winners[BASE])
    for name, service in OTHER_SERVICES.items():
        if (winner := winners[name]) is not None and winner[1] not in ("", "0", "false"):
            yield Finding("warning", NAME, f"{name} in {winner[0]} makes it send requests to {service}", RUN)
    base = winners[BASE]
    if base is not None and is_own_address(base[1], subject.settings):
        yield from _check_key(subject.settings, winners[TOKEN], winners[KEY], sources)
        yield from _check_models(subject, sources)
        yield from _check_window(subject, winners[WINDOW])


def read_sources(subject: Subject) -> tuple[list[Source], list[Finding]]:
    """The settings of each source, the strongest first, and findings about unreadable files."""
    folder = Path(subject.environ.get("CLAUDE_CONFIG_DIR") or subject.home / ".claude")
    here = subject.folder / ".claude"
    files = (*MANAGED, here / "settings.local.json", here / "settings.json", folder / "settings.json")
    sources, broken = [], []
    for file in dict.fromkeys(files):
        try:
            with file.open(encoding="utf-8") as opened:
                document = json.loads(opened.read(LARGEST))
        except FileNotFoundError:
            continue
        except (OSError, ValueError, RecursionError) as error:
            message = f"{subject.show(file)} is not readable JSON ({type(error).__name__}), so Claude Code ignores it"
            broken.append(Finding("error", NAME, message, f"python3 -m json.tool {file}"))
            continue
        table = as_object(document)
        variables = {str(name): str(value) for name, value in as_object(table.get("env")).items()}
        if isinstance(table.get("model"), str):
            variables[MODEL_SETTING] = table["model"]
        helper = table.get("apiKeyHelper")
        sources.append(Source(subject.show(file), variables, helper if isinstance(helper, str) else None))
    sources.append(Source("the environment", subject.environ))
    return sources, broken


def is_own_address(url: str, settings: Settings) -> bool:
    """Whether a base URL is the address of the gateway with these settings."""
    ours = urlsplit(base_url(settings.server))
    try:
        theirs = urlsplit(url)
        port = theirs.port or (443 if theirs.scheme == "https" else 80)
    except ValueError:
        return False
    same = theirs.hostname == ours.hostname or (theirs.hostname in LOOPBACK and ours.hostname in LOOPBACK)
    return same and port == ours.port


def speaks_otherwise(url: str, settings: Settings) -> bool:
    """Whether an address of the gateway begins with https, which it does not speak, or the other way round."""
    return urlsplit(url).scheme != urlsplit(base_url(settings.server)).scheme


def takes_key(settings: Settings, key: str) -> bool:
    """Whether the gateway accepts a key, as far as the settings say; commands may have made others."""
    named = {hash_key(each.key) for each in settings.keys.values()}
    taken = {hash_key(each) for each in settings.server.api_keys} | named
    return not taken or hash_key(key) in taken


def _find_winner(sources: list[Source], name: str) -> tuple[str, str] | None:
    """The place that decides a variable, and its value."""
    return next(((source.place, source.variables[name]) for source in sources if name in source.variables), None)


def _check_base(subject: Subject, sources: list[Source], winner: tuple[str, str] | None) -> Iterator[Finding]:
    assert subject.settings is not None
    if winner is None or not winner[1]:
        yield Finding("note", NAME, f"{BASE} is not set, so Claude Code talks to Anthropic directly", RUN)
        return
    place, url = winner
    shown = _show_url(url)
    losers = [source.place for source in sources if BASE in source.variables and source.place != place]
    wins = f" and overrides {', '.join(losers)}" if losers else ""
    if not is_own_address(url, subject.settings):
        message = f"{BASE} in {place} is {shown}{wins}; this is not the gateway's address"
        yield Finding("warning", NAME, message, f"{RUN}, or permanently: dragoman configure claude")
        return
    path = urlsplit(url).path.rstrip("/")
    if speaks_otherwise(url, subject.settings):
        message = f"{BASE} in {place} is {shown}, but the gateway does not speak {urlsplit(url).scheme[:10]} there"
        yield Finding("error", NAME, message, f"{BASE}={base_url(subject.settings.server)}")
    elif path.endswith("/v1"):
        message = f"{BASE} in {place} is {shown}; Claude Code adds /v1 itself"
        yield Finding("warning", NAME, message, f"{BASE}={base_url(subject.settings.server)}")
    else:
        yield Finding("ok", NAME, f"{BASE} in {place} points here{wins}")


def _check_key(
    settings: Settings, token: tuple[str, str] | None, key: tuple[str, str] | None, sources: list[Source]
) -> Iterator[Finding]:
    helper = next((source for source in sources if source.helper), None)
    if helper is not None:
        message = f"apiKeyHelper in {helper.place} prints a key, which Claude Code sends to this gateway"
        yield Finding("note", NAME, message, f"remove apiKeyHelper from {helper.place}, or use: {RUN}")
    if token is not None and key is not None and token[1] and key[1]:
        message = (
            f"{TOKEN} ({token[0]}) and {KEY} ({key[0]}) are both set; Claude Code warns and sends only one of them"
        )
        yield Finding("warning", NAME, message, f"unset {KEY}, or use: {RUN}")
    shown = next((each for each in (token, key) if each is not None and each[1]), None)
    if shown is None:
        if helper is None:
            yield Finding("error", NAME, f"neither {TOKEN} nor {KEY} is set, so Claude Code asks you to log in", RUN)
    elif not takes_key(settings, shown[1]):
        message = f"the key in {shown[0]} is not a key of this gateway"
        yield Finding("error", NAME, message, f"{RUN}, or set it to one of [server] api_keys")


def _check_models(subject: Subject, sources: list[Source]) -> Iterator[Finding]:
    """Checks that the models that Claude Code is told to use lead somewhere."""
    chosen = _find_winner(sources, MODEL)
    for name in MODEL_VARIABLES if chosen is not None and chosen[1] else (*MODEL_VARIABLES, MODEL_SETTING):
        winner = _find_winner(sources, name)
        # The mark is Claude Code's own, for a window of a million tokens.
        model = winner[1].removesuffix("[1m]") if winner is not None else ""
        if winner is None or model in ALIASES or subject.routing is None:
            continue
        try:
            subject.routing.router.resolve(model)
        except DragomanError as error:
            message = f"{name} in {winner[0]}: {str(error)[:300]}"
            yield Finding("error", NAME, message, f"set it to a name from: dragoman models, or use: {RUN}")


def _check_window(subject: Subject, winner: tuple[str, str] | None) -> Iterator[Finding]:
    """Checks the window that Claude Code assumes, which is a million tokens for unknown models."""
    window = _find_window(subject)
    if window is None:
        return
    assumed = int(winner[1]) if winner is not None and winner[1].isdecimal() and len(winner[1]) < 12 else None
    if assumed is None or assumed > window:
        thought = f"{assumed} tokens" if assumed else "up to 1000000 tokens"
        message = f"the context window here is {window} tokens, but Claude Code assumes {thought} and compacts too late"
        yield Finding("warning", NAME, message, f"export {WINDOW}={window}, or use: {RUN}")


def _find_window(subject: Subject) -> int | None:
    """The smallest window of the models that Claude names are routed to."""
    if subject.routing is None:
        return None
    return find_window(subject.routing.router, (*CLAUDE_NAMES, SMALL_CLAUDE_NAME))


def _show_url(url: str) -> str:
    """A URL without the parts that may contain a secret."""
    try:
        parts = urlsplit(url[:300])
        host = parts.netloc.rpartition("@")[2]
        return f"{parts.scheme}://{host}{parts.path}"
    except ValueError:
        return "no URL"
