"""Checks Codex: its configuration, and the variables that it reads."""

from __future__ import annotations

import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from app.cli.doctor.claude_checks import is_own_address, speaks_otherwise, takes_key
from app.cli.doctor.finding import Finding, Subject
from app.cli.launcher.plan import find_window
from app.cli.serving.start_screen import base_url
from app.json_values import as_object

NAME = "Codex"
RUN = "dragoman run codex"


def check_codex(subject: Subject) -> Iterator[Finding]:
    file = Path(subject.environ.get("CODEX_HOME") or subject.home / ".codex") / "config.toml"
    shown = subject.show(file)
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return
    except (OSError, ValueError, RecursionError) as error:
        yield Finding("error", NAME, f"{shown} is not valid TOML: {str(error)[:200]}", f"mend {shown}")
        return
    if subject.settings is None:
        return
    profile = document.get("profile")
    chosen = as_object(as_object(document.get("profiles")).get(profile)) if isinstance(profile, str) else {}
    name = chosen.get("model_provider", document.get("model_provider", "openai"))
    place = f"profile {profile} in {shown}" if "model_provider" in chosen else shown
    provider = as_object(as_object(document.get("model_providers")).get(name)) if isinstance(name, str) else {}
    url = provider.get("base_url", document.get("openai_base_url") if name == "openai" else None)
    if not isinstance(url, str):
        yield Finding("note", NAME, f"{place} uses {name}, not this gateway", f"{RUN}, or: dragoman configure codex")
        return
    yield from _check_provider(subject, place, str(name), url, provider)
    yield from _check_window(subject, document, shown)


def _check_provider(
    subject: Subject, place: str, name: str, url: str, provider: Mapping[str, Any]
) -> Iterator[Finding]:
    assert subject.settings is not None
    if not is_own_address(url, subject.settings):
        message = f"{place} uses {name} at {urlsplit(url).hostname}, not this gateway"
        yield Finding("warning", NAME, message, f"{RUN}, or permanently: dragoman configure codex")
        return
    faults = False
    if speaks_otherwise(url, subject.settings):
        faults = True
        message = (
            f"the base_url of {name} in {place} is {urlsplit(url).scheme[:10]}, which the gateway does not speak there"
        )
        yield Finding("error", NAME, message, f'base_url = "{base_url(subject.settings.server)}/v1"')
    if not urlsplit(url).path.rstrip("/").endswith("/v1"):
        faults = True
        want = f'base_url = "{base_url(subject.settings.server)}/v1"'
        yield Finding("warning", NAME, f"the base_url of {name} in {place} does not end in /v1", want)
    if provider.get("wire_api", "responses") != "responses":
        faults = True
        message = f"wire_api of {name} in {place} is no longer supported by Codex"
        yield Finding("error", NAME, message, 'wire_api = "responses"')
    variable = provider.get("env_key")
    if isinstance(variable, str) and not subject.environ.get(variable):
        faults = True
        message = f"{name} in {place} takes its key from {variable}, which is not set, so Codex does not start"
        yield Finding("error", NAME, message, f"export {variable}=…, or use: {RUN}")
    elif isinstance(variable, str) and not takes_key(subject.settings, subject.environ[variable]):
        faults = True
        yield Finding("error", NAME, f"the key in {variable} is not a key of this gateway", RUN)
    if not faults:
        yield Finding("ok", NAME, f"{place} leads here")


def _check_window(subject: Subject, document: Mapping[str, Any], shown: str) -> Iterator[Finding]:
    model, window = document.get("model"), document.get("model_context_window")
    if subject.routing is None or not isinstance(model, str):
        return
    real = find_window(subject.routing.router, [model])
    if real is not None and isinstance(window, int) and window > real:
        message = f"model_context_window in {shown} is {window}, but {model} takes {real} tokens here"
        yield Finding("warning", NAME, message, f"model_context_window = {real}")
