"""Masks secrets in settings."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from typing import Any
from urllib.parse import unquote

from msgspec import Struct, json, structs

MASK = "***"
# Up to this many named client keys, all of them are searched for in outgoing text. More are not: upstreams never see
# them and cannot quote them, and searching for thousands would add seconds to every start.
MAX_KEYS = 200
# Webhooks are secret because anybody who knows the address may send to it.
SECRET_KEYS = frozenset({"api_keys", "api_key", "access_token", "webhooks", "slack", "key"})
# Users set their own headers, which often hold a key.
SECRET_TABLES = frozenset({"headers"})
# Parts of names of headers, parameters, options and keys of free tables whose values are secrets.
SECRET_WORDS = ("auth", "cookie", "credential", "key", "passw", "pwd", "secret", "sig", "token")


def masked(value: Any, key: str = "") -> Any:
    """A settings table as plain dicts, lists and scalars, with each secret replaced by `***`."""
    if isinstance(value, Struct):
        return {name: masked(each, name) for name, each in structs.asdict(value).items()}
    if key in SECRET_KEYS and value:
        return [MASK] * len(value) if isinstance(value, tuple) else MASK
    if isinstance(value, dict):
        return {name: MASK if _is_hidden(key, name, each) else masked(each, name) for name, each in value.items()}
    if key == "command" and value:
        return [value[0], *(_mask_argument(argument) for argument in value[1:])]
    if isinstance(value, tuple | list):
        return [masked(each) for each in value]
    return _mask_url(value) if isinstance(value, str) else value


def fingerprint(settings: Struct) -> str:
    """A mark of what decides about answers: providers and models, without their secrets. Gateways with the same mark
    answer alike."""
    shown = {name: masked(getattr(settings, name), name) for name in ("providers", "models")}
    return hashlib.sha256(json.encode(shown, order="deterministic", enc_hook=str)).hexdigest()[:16]


def find_secrets(value: Any, key: str = "") -> Iterator[str]:
    """All secrets in a settings table, unmasked."""
    if isinstance(value, Struct):
        for name, each in structs.asdict(value).items():
            yield from find_secrets(each, name)
    elif isinstance(value, dict):
        if key != "keys" or len(value) <= MAX_KEYS:
            yield from _find_in_table(value)
    elif key in SECRET_KEYS:
        yield from _find_in_keys((value,) if isinstance(value, str) else value or ())
    elif key == "command":
        yield from _find_in_command(value)
    elif isinstance(value, tuple | list):
        for each in value:
            yield from find_secrets(each)
    elif isinstance(value, str):
        yield from _find_in_url(value)


def _find_in_table(table: dict[str, Any]) -> Iterator[str]:
    for name, each in table.items():
        if isinstance(each, str) and sounds_secret(name):
            yield each
            yield each.partition(" ")[2]  # behind `Bearer` or `Basic`
        yield from find_secrets(each, name)


def _find_in_keys(values: Sequence[str]) -> Iterator[str]:
    """Keys, and what is secret in webhooks' addresses. Scheme and host are not: others at the host would be masked."""
    for value in values:
        _, marks, rest = value.partition("://")
        yield rest.partition("/")[2] if marks else value
        yield from _find_in_url(value)


def _find_in_command(command: Sequence[str]) -> Iterator[str]:
    """The values of options whose names sound secret, from `--token=…` and `--token …`."""
    for option, argument in zip(("", *command), command, strict=False):
        name, _, value = argument.rpartition("=")
        if sounds_secret(name):
            yield value
        elif option.startswith("-") and "=" not in option and sounds_secret(option):
            yield argument


def sounds_secret(name: str) -> bool:
    return any(word in name.lower() for word in SECRET_WORDS)


def _is_hidden(table: str, name: str, value: Any) -> bool:
    return table in SECRET_TABLES or (
        isinstance(value, str) and sounds_secret(name) and table in ("quirks", "extra_body")
    )


def _mask_argument(argument: str) -> str:
    """A program's argument, masked but for an option's name: only that is certain not to be secret."""
    name, equals, _ = argument.partition("=")
    return f"{name}={MASK}" if equals and name.startswith("-") else argument if argument.startswith("-") else MASK


def _mask_url(text: str) -> str:
    """A URL with its login and the keys in its query masked. User and password may contain slashes and at signs."""
    scheme, marks, rest = text.partition("://")
    if not marks:
        return text
    _, at, place = rest.rpartition("@")
    place, question, query = place.partition("?")
    shown = "&".join(_mask_parameter(each) for each in query.split("&"))
    return scheme + marks + (f"{MASK}@" if at else "") + place + question + shown


def _mask_parameter(parameter: str) -> str:
    name, equals, _ = parameter.partition("=")
    return f"{name}={MASK}" if equals and sounds_secret(name) else parameter


def _find_in_url(text: str) -> Iterator[str]:
    _, marks, rest = text.partition("://")
    if not marks:
        return
    user, at, place = rest.rpartition("@")
    found = [user.partition(":")[2] or user] if at else []
    for parameter in place.partition("?")[2].split("&"):
        name, _, value = parameter.partition("=")
        if sounds_secret(name):
            found.append(value)
    for each in found:
        yield each
        yield unquote(each)
