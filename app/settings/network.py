"""Reads network settings: URLs, proxies and certificates."""

from __future__ import annotations

import base64
import ipaddress
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import SplitResult, unquote, urlsplit

from app.errors import ConfigError
from app.settings.texts import change_texts

# The key that `requests` uses for each variable. A lower-case variable wins over its upper-case spelling, as in curl.
PROXY_VARIABLES = {"HTTPS_PROXY": "https", "HTTP_PROXY": "http", "ALL_PROXY": "all", "NO_PROXY": "no_proxy"}
# Variables that name the certificates to trust. The first that is set wins.
CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE", "NODE_EXTRA_CA_CERTS")
PROXY_SCHEMES = ("http", "https", "socks4", "socks4a", "socks5", "socks5h")

_URL = re.compile(r"https?://[^/]", re.IGNORECASE)
_PROXY_KEY = re.compile(r"(?:http|https|all)(?:://[^\s/]{1,255})?|no_proxy")
_UNSEEN = re.compile(r"[\x00-\x20\x7f]")
# Characters that editors and shells leave around a value: spaces, line ends, a byte order mark.
_MARGIN = " \t\r\n\v\f\ufeff"


_NOT_IN_HOSTS = re.compile(r"[\\\"<>^`{|}%]")


def strip_margin(value: Any) -> Any:
    """The same value, with surrounding white space and byte order marks stripped from all its text."""
    return change_texts(value, lambda text, _name, _path: text.strip(_MARGIN))


def read_environment(environ: Mapping[str, str]) -> dict[str, Any]:
    """The keys of `[server]` set by the usual variables for proxies and certificates. Raises ConfigError with the
    variable."""
    found: dict[str, Any] = {}
    proxies: dict[str, str] = {}
    for variable, key in PROXY_VARIABLES.items():
        name = variable.lower() if environ.get(variable.lower()) else variable
        if value := strip_margin(environ.get(name, "")):
            proxies[key] = value
            check_proxies({key: value}, name)
    if proxies.keys() - {"no_proxy"}:
        found["proxies"] = proxies
    for variable in CA_VARIABLES:
        if value := strip_margin(environ.get(variable, "")):
            if not Path(value).exists():
                raise ConfigError(f"the file {value} does not exist", key=variable)
            found["ca_bundle"] = value
            break
    return found


def check_proxies(proxies: Mapping[str, str], key: str) -> None:
    """Raises ConfigError for an unusable proxy. Never quotes a value, which may hold a password."""
    for name, value in proxies.items():
        if not _PROXY_KEY.fullmatch(name):
            raise ConfigError(
                "name a proxy http, https, all or one of these with ://HOST; no_proxy lists hosts", key=key
            )
        if name == "no_proxy":
            continue
        parts = _split(value if "://" in value else f"http://{value}", key, "a proxy's URL")
        if parts.scheme not in PROXY_SCHEMES:
            raise ConfigError(f"a proxy's URL must start with one of {', '.join(PROXY_SCHEMES)}", key=key)


def check_url(url: str, key: str) -> None:
    """Raises ConfigError for text that cannot be an upstream's URL."""
    if not _URL.match(url):
        raise ConfigError("a URL must start with http:// or https:// and a host", key=key)
    parts = _split(url, key, "a URL")
    if parts.fragment:
        raise ConfigError("a URL must not contain #", key=key)


def split_login(url: str) -> tuple[str, str | None]:
    """A URL without its user and password, and the Authorization value for them (Basic, RFC 7617), if it has any."""
    parts = urlsplit(url)
    if "@" not in parts.netloc:
        return url, None
    login, _, host = parts.netloc.rpartition("@")
    user, _, password = login.partition(":")
    pair = f"{unquote(user)}:{unquote(password)}".encode()
    return parts._replace(netloc=host).geturl(), f"Basic {base64.b64encode(pair).decode()}"


def _split(url: str, key: str, what: str) -> SplitResult:
    try:
        parts = urlsplit(url)
        usable = bool(parts.hostname) and (parts.port is None or parts.port > 0)
        (parts.hostname or "").encode("idna" if not (parts.hostname or "").isascii() else "ascii")
    except ValueError as error:
        raise ConfigError(
            f"{what} needs a host and a port from 1 to 65535; write an IPv6 address in brackets", key=key
        ) from error
    if not usable or _UNSEEN.search(url) or not _is_host(parts.hostname or ""):
        raise ConfigError(f"{what} has a host's name after its scheme, and no spaces", key=key)
    return parts


def _is_host(host: str) -> bool:
    return len(host) <= 255 and not _NOT_IN_HOSTS.search(host.partition("%")[0])


def is_loopback(host: str) -> bool:
    """Whether a server that listens at `host` can be reached from this machine only."""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
