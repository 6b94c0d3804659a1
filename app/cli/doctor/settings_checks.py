"""Checks the settings: whether they are valid, where they come from, and who else may read or change them."""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator
from importlib import metadata
from urllib.parse import urlsplit

from app.cli.configuring.key_patterns import find_idle_patterns
from app.cli.doctor.finding import Finding, Subject
from app.cli.launcher.gateway import runs_here
from app.cli.launcher.port_holder import find_port_holder
from app.cli.running_gateway import ask_health
from app.cli.serving.start_screen import KEY_VARIABLE, base_url
from app.errors import ConfigError
from app.server.ports import check_port
from app.settings.loading import PLAIN_VARIABLES, PREFIX
from app.settings.places import FOUND_NAME, data_folder, user_config_file

# Minimum free space, in bytes, for the ledger, the accounts and a log.
LEAST_ROOM = 200 << 20
# The hosts whose keys begin in these ways, longer ones first; and where a kind goes without a base_url.
_KEY_HOSTS = {
    "sk-ant-": "api.anthropic.com",
    "sk-or-": "openrouter.ai",
    "sk-proj-": "api.openai.com",
    "gsk_": "api.groq.com",
    "xai-": "api.x.ai",
    "AIza": "generativelanguage.googleapis.com",
    "hf_": "router.huggingface.co",
}
_OWN_HOSTS = {"anthropic": "https://api.anthropic.com", "openai": "https://api.openai.com"}


def check_settings(subject: Subject) -> Iterator[Finding]:
    if subject.fault is not None:
        for fault in subject.fault.faults:
            yield Finding("error", "settings", str(fault), "fix the line named here, then run: dragoman config check")
        return
    if subject.settings is not None:
        source = subject.settings.source
        where = subject.show(source) if source else "no configuration file; using what was found on this machine"
        yield Finding("ok", "settings", f"read from {where}")


def check_shadowed_file(subject: Subject) -> Iterator[Finding]:
    own = user_config_file(subject.environ)
    source = subject.settings.source if subject.settings else None
    if source is not None and source.name == FOUND_NAME and source.parent == subject.folder and own.is_file():
        yield Finding(
            "note",
            "settings",
            f"{subject.show(source)} takes precedence here, and {subject.show(own)} is ignored",
            f"dragoman doctor --config {own}",
        )


def check_environment(subject: Subject) -> Iterator[Finding]:
    """Reports variables that override the file, often set for another program, such as PORT."""
    if subject.settings is None or subject.settings.source is None:
        return
    for name, (section, key) in PLAIN_VARIABLES.items():
        if subject.environ.get(name):
            message = (
                f"{section}.{key} comes from the variable {name}, not from {subject.show(subject.settings.source)}"
            )
            yield Finding("note", "environment", message, f"unset {name}")
    for name in sorted(subject.environ):
        if name.startswith(PREFIX):
            key = name.removeprefix(PREFIX).lower().replace("__", ".")
            yield Finding("note", "environment", f"{key} comes from the variable {name}", f"unset {name}")


def check_trust(subject: Subject) -> Iterator[Finding]:
    """Checks who else may change or read the file, which can name programs to run and contains keys."""
    source = subject.settings.source if subject.settings else None
    if source is None:
        return
    found = source.stat()
    shown = subject.show(source)
    if found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        yield Finding("warning", "settings file", f"{shown} is writable by other users", f"chmod go-w {source}")
    if found.st_mode & (stat.S_IRGRP | stat.S_IROTH) and _holds_keys(subject):
        message = f"{shown} contains a key and is readable by other users"
        yield Finding("warning", "settings file", message, f"chmod 600 {source}")
    if found.st_uid not in (os.geteuid(), 0):
        message = f"{shown} belongs to another user, who can change what you run"
        yield Finding("warning", "settings file", message, f"cp {source} ~/, and use the copy")


def check_providers(subject: Subject) -> Iterator[Finding]:
    if subject.settings is None:
        return
    real = [name for name, provider in subject.settings.providers.items() if provider.kind != "demo"]
    if not real:
        message = "only the built-in demo is configured, so no real model answers"
        yield Finding("warning", "providers", message, "dragoman login oca, or: export ANTHROPIC_API_KEY=…")
    for found in subject.settings.found:
        if not found.used:
            message = f"a login for {found.provider} was found in {found.where} but is not used"
            yield Finding("note", "providers", message, f"add [providers.{found.provider}] to the settings")


def check_address(subject: Subject) -> Iterator[Finding]:
    """Checks who listens at the gateway's address: the gateway itself, an older or another gateway, or another
    program."""
    if subject.settings is None or subject.settings.server.host.startswith("unix:"):
        return
    server = subject.settings.server
    url = base_url(server)
    if health := ask_health(url, subject.settings):
        yield from _check_running(subject, url, health.get("version"))
        return
    try:
        check_port(server)
    except ConfigError as error:
        holder = find_port_holder(server.port)
        message = f"port {server.port} is in use by {holder}" if holder else str(error)
        yield Finding("error", "port", message, f"dragoman serve --port {server.port + 1}")
    else:
        yield Finding("ok", "port", f"{url} is free; no gateway is running there")


def check_keys(subject: Subject) -> Iterator[Finding]:
    """Reports keys that begin as another service's keys do."""
    if subject.settings is None:
        return
    for name, provider in subject.settings.providers.items():
        url, key = provider.base_url or _OWN_HOSTS.get(provider.kind, ""), provider.api_key or ""
        host = urlsplit(url).hostname or ""
        begin = next((begin for begin in _KEY_HOSTS if key.startswith(begin)), None)
        # Only between services whose keys are known: a gateway of one's own may take any.
        if begin is not None and host in _KEY_HOSTS.values() and host != _KEY_HOSTS[begin]:
            said = f"the key begins with {begin} as those of {_KEY_HOSTS[begin]} do, and is sent to {host}"
            yield Finding("error", f"key {name}", said, f"set api_key in [providers.{name}]")


def check_rights(subject: Subject) -> Iterator[Finding]:
    """Reports patterns of client keys that match nothing."""
    if subject.settings is None:
        return
    for idle in find_idle_patterns(subject.settings, subject.settings.keys):
        yield Finding("warning", "client keys", idle, f"correct {idle.partition(':')[0]}")


def check_data_folder(subject: Subject) -> Iterator[Finding]:
    """Checks that the gateway can write its ledger and accounts."""
    folder = data_folder()
    place = next((path for path in (folder, *folder.parents) if path.exists()), folder)
    said = f"nothing can be stored: {subject.show(place)}"
    if not place.is_dir():
        yield Finding("error", "data folder", f"{said} is a file", f"mv {place} {place}.old")
    elif not os.access(place, os.W_OK | os.X_OK):
        yield Finding("error", "data folder", f"{said} is not writable", f"ls -ld {place}")


def check_room(subject: Subject) -> Iterator[Finding]:
    place = next(path for path in (subject.home, *subject.home.parents) if path.exists())
    free = shutil.disk_usage(place).free
    if free < LEAST_ROOM:
        yield Finding("warning", "disk", f"{free >> 20} MB are left on {place}", f"du -sh {subject.home}/.local/share")


def _check_running(subject: Subject, url: str, version: object) -> Iterator[Finding]:
    assert subject.settings is not None
    own = metadata.version("dragoman")
    if version is not None and version != own:
        message = f"the gateway at {url} is version {str(version)[:40]}, this program is {own}"
        yield Finding("warning", "gateway", message, "restart it: dragoman serve")
    if runs_here(url, subject.settings):
        yield Finding("ok", "gateway", f"a gateway with these settings is running at {url}")
    else:
        message = f"the gateway at {url} is running with other settings, or rejects the key of this machine's commands"
        remedy = f"export {KEY_VARIABLE}=…, or stop it and start one with these settings: dragoman serve"
        yield Finding("warning", "gateway", message, remedy)


def _holds_keys(subject: Subject) -> bool:
    """Whether the file contains a secret itself rather than a reference to a variable."""
    settings = subject.settings
    if settings is None or settings.source is None:
        return False
    text = settings.source.read_text(encoding="utf-8", errors="replace")
    secrets = [*settings.server.api_keys]
    for provider in settings.providers.values():
        secrets += [value for value in (provider.api_key, provider.access_token) if value]
    return any(secret in text for secret in secrets)


CHECKS = (
    check_settings,
    check_shadowed_file,
    check_environment,
    check_trust,
    check_providers,
    check_keys,
    check_rights,
    check_address,
    check_data_folder,
    check_room,
)
