"""Relays what has no endpoint here to the vendor's own API: files, batches and whatever it adds.

The vendor knows the gateway's account, not the gateway's clients: whoever may use this sees the files of all. So only
administrators may, or everybody on the machine of a gateway that requires no keys.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from urllib.parse import quote

from app.conversation.blocks import DialectName
from app.dialects.anthropic_messages.vocabulary import NAME as ANTHROPIC
from app.dialects.registry import DIALECTS
from app.errors import Forbidden, NotFound, UpstreamRefused
from app.gateway.messages import ClientRequest, ClientResponse
from app.gateway.replies.reply_headers import mask_errors, relayed_headers
from app.providers.provider import Provider, UpstreamRequest
from app.transport import Call, Exchange

ROOT = "/v1/"
# The client's headers that describe its request, and the upstream's that describe what it sends.
_ASKED = ("content-type", "accept")
_SENT = ("content-type", "content-disposition")
# A file is no page of the gateway's own.
_NO_PAGE = {"content-security-policy": "sandbox", "x-content-type-options": "nosniff"}


def find_vendor(providers: Mapping[str, Provider], name: str | None, dialect: DialectName) -> Provider | None:
    """The provider of this name, else the first whose vendor a client of this dialect means, if it has a wider API."""
    for each in providers.values():
        suits = each.name == name or (name is None and (each.dialect == ANTHROPIC) == (dialect == ANTHROPIC))
        if suits and each.has_wider_api:
            return each
    return None


def relay(provider: Provider, asked: ClientRequest, method: str, path: str, query: str) -> ClientResponse:
    """The vendor's answer. Raises DragomanError."""
    key = asked.key
    # Nothing here is counted, and a batch may name any model.
    if not key.may_manage or key.models or key.limits or not key.may_use(provider.name):
        raise Forbidden(
            "only a client key with the role admin and without limits may use the rest of a vendor's API: it is shared "
            "by all"
        )
    steps = path.removeprefix(ROOT).split("/")
    if "." in steps or ".." in steps:
        raise NotFound("no path is called so")  # such a path would leave the API
    url, _, version = provider.url("models", "").partition("?")
    url = f"{url.removesuffix('/models')}/{quote('/'.join(steps), safe='/:@')}"
    url += "?" * bool(version or query) + "&".join(filter(None, (version, query)))
    credential = provider.credential()
    plain = UpstreamRequest("models", "", asked.body, client_headers=asked.headers, same_dialect=True)
    headers = provider.headers(plain, credential)
    headers |= {name: asked.headers[name] for name in _ASKED if name in asked.headers}
    return _answer(provider, provider.transport.send(Call(method, url, headers, asked.body, provider.limits)))


def _answer(provider: Provider, exchange: Exchange) -> ClientResponse:
    passes = False
    try:
        exchange.wait_head()
        headers = relayed_headers(exchange.headers, same_dialect=True)
        if not 200 <= exchange.status < 300:
            parse_error = DIALECTS[provider.dialect].parse_error
            failure = parse_error(exchange.status, exchange.headers, exchange.read_body())
            raise UpstreamRefused(provider.explain(failure), headers)
        passes = True
        headers |= {name: exchange.headers[name] for name in _SENT if name in exchange.headers} | _NO_PAGE
        return ClientResponse(exchange.status, headers, _parts(exchange))
    finally:
        if not passes:
            exchange.close()


def _parts(exchange: Exchange) -> Iterator[bytes]:
    try:
        while part := exchange.read_part():
            yield mask_errors(part)
    finally:
        exchange.close()
