"""Checks the connection to each provider: DNS, connection, certificate, proxy and clock."""

from __future__ import annotations

import socket
import time
from collections.abc import Iterator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from urllib.parse import urlsplit

import requests

from app.cli.doctor.finding import Finding, Subject
from app.cli.serving.start_screen import base_url
from app.known_secrets import known_secrets
from app.providers.provider import Provider

# Timeout for a host, and tolerated error of the clock, in seconds: login signatures contain the time.
TIMEOUT = 10.0
MAX_SKEW = 120.0
# Any of them may decide for a client.
PROXY_VARIABLES = tuple(
    name for kind in ("HTTP", "HTTPS", "ALL") for name in (f"{kind}_PROXY", f"{kind.lower()}_proxy")
)
# A clock before this date, on which this program was begun, was never set.
EPOCH = 1_735_689_600
# The start command of a local server, by the profile of its provider.
STARTS = {
    "ollama": "ollama serve",
    "lmstudio": "lms server start",
    "vllm": "vllm serve MODEL",
    "llamacpp": "llama-server -m MODEL.gguf",
}


def check_clock(subject: Subject) -> Iterator[Finding]:
    if subject.now < EPOCH:
        shown = datetime.fromtimestamp(subject.now, UTC).date()
        yield Finding(
            "error", "clock", f"it is set to {shown}, so certificates and logins fail", "sudo timedatectl set-ntp true"
        )


def check_proxies(subject: Subject) -> Iterator[Finding]:
    if subject.settings is None:
        return
    for name, url in (subject.settings.server.proxies or {}).items():
        if name == "no_proxy":
            continue
        parts = urlsplit(url)
        try:
            with socket.create_connection((parts.hostname or "", parts.port or 80), TIMEOUT):
                yield Finding("ok", "proxy", f"{name} uses the proxy {parts.hostname}:{parts.port}")
        except (OSError, ValueError) as error:
            message = f"{name} uses the proxy {parts.hostname}:{parts.port}, which does not answer: {_describe(error)}"
            yield Finding(
                "error", "proxy", message, "unset HTTPS_PROXY HTTP_PROXY ALL_PROXY, or correct [server] proxies"
            )


def check_loopback(subject: Subject) -> Iterator[Finding]:
    """Clients send what is for this machine to a proxy too, unless they are told not to."""
    if subject.settings is None or subject.settings.server.host.startswith("unix:"):
        return
    name = next((name for name in PROXY_VARIABLES if subject.environ.get(name)), None)
    spared = subject.environ.get("NO_PROXY") or subject.environ.get("no_proxy") or ""
    host = urlsplit(base_url(subject.settings.server)).hostname or ""
    if name is not None and not {host, "*"} & {each.strip() for each in spared.split(",")}:
        message = f"{name} is set and NO_PROXY does not name {host}, so clients send their requests to the proxy"
        wanted = ",".join(filter(None, (spared, host)))
        yield Finding("warning", "proxy", message, f"export NO_PROXY={wanted}, or use: dragoman run")


def check_hosts(subject: Subject) -> Iterator[Finding]:
    for provider in subject.routing.providers.values() if subject.routing else ():
        if provider.base_url and not provider.local:
            yield from _check_host(subject, provider)


def _check_host(subject: Subject, provider: Provider) -> Iterator[Finding]:
    """Checks name, connection and certificate and reports the first failure. The status is irrelevant here."""
    parts = urlsplit(provider.base_url)
    host = parts.hostname or ""
    check = f"network {provider.name}"
    proxied = bool(subject.settings and subject.settings.server.proxies)
    if not proxied:
        try:
            socket.getaddrinfo(host, parts.port or 443)
        except (OSError, UnicodeError):
            yield Finding("error", check, f"the name {host} cannot be resolved", f"getent hosts {host}")
            return
    begun = time.monotonic()
    try:
        session = provider.transport.session
        headers = {"connection": "close"}
        reply = session.get(provider.base_url, headers=headers, timeout=TIMEOUT, allow_redirects=False, stream=True)
        reply.close()
    except requests.exceptions.SSLError as error:
        message = f"the certificate of {host} is not trusted: {_describe(error)}"
        yield Finding(
            "error", check, message, f'ca_bundle = "/path/of/your/company.pem" in [providers.{provider.name}]'
        )
        return
    except (requests.RequestException, OSError) as error:
        message = f"{host}:{parts.port or parts.scheme} does not answer: {_describe(error)}"
        yield Finding("error", check, message, STARTS.get(provider.profile, f"curl -v {provider.base_url}"))
        return
    yield Finding("ok", check, f"{host} answers in {time.monotonic() - begun:.2f} s")
    yield from _compare_clocks(subject, host, reply.headers.get("date", ""))


def _compare_clocks(subject: Subject, host: str, date: str) -> Iterator[Finding]:
    try:
        there = parsedate_to_datetime(date[:100]).timestamp()
    except (ValueError, TypeError, OverflowError):
        return
    skew = subject.now - there
    if abs(skew) > MAX_SKEW:
        way = "ahead of" if skew > 0 else "behind"
        message = f"it is {abs(skew):.0f} s {way} the clock of {host}; logins will be refused"
        yield Finding("warning", "clock", message, "sudo timedatectl set-ntp true")


def _describe(error: Exception) -> str:
    """The innermost reason, in one line."""
    reason: BaseException = error
    while (inner := reason.__cause__ or reason.__context__) is not None:
        reason = inner
    return known_secrets.mask(str(reason).splitlines()[0][:200] if str(reason) else type(reason).__name__)


CHECKS = (check_clock, check_proxies, check_loopback, check_hosts)
