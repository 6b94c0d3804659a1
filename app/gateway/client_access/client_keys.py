"""A client key's rights: models, providers, expiry and limits."""

from __future__ import annotations

import datetime
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Literal

import msgspec

from app.errors import Forbidden, NotFound, Unauthorized
from app.providers.names import maker_before, plain_name
from app.rate_limits.counts import Limit, read_limits
from app.routing.router import DEFAULT
from app.routing.upstream import Upstream
from app.routing.vendor_names import PLACEHOLDERS, family_kinds, is_tier_name
from app.settings import KeySettings

# Maximum characters of a client's name for a model quoted in an error.
MAX_QUOTED = 100
# Maximum patterns listed in an error.
MAX_NAMED = 10

Role = Literal["client", "admin"]


class ClientKey(msgspec.Struct, frozen=True, kw_only=True):
    """`tenant` is the name under which the key's data is stored; it outlives a rotation of the key. `models` and
    `providers` are patterns, empty if everything is allowed; `expires` is unix time."""

    name: str = ""
    tenant: str = ""
    role: Role = "client"
    named: bool = False
    models: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    expires: float | None = None
    disabled: bool = False
    limits: tuple[Limit, ...] = ()

    @property
    def may_manage(self) -> bool:
        """Whether its owner may change shared things, such as logins. Keys without a name belong to the operator."""
        return self.role == "admin" or not self.named

    def is_good(self, now: float) -> bool:
        return not self.disabled and (self.expires is None or now < self.expires)

    def check_time(self, now: float) -> None:
        """Raises Unauthorized if the key is disabled or has expired."""
        if self.disabled:
            message = f"the client key {self.name!r} is disabled; ask the operator of this gateway for another one"
            raise Unauthorized(message, code="invalid_api_key")
        if self.expires is not None and now >= self.expires:
            day = datetime.datetime.fromtimestamp(self.expires, datetime.UTC).strftime("%Y-%m-%d %H:%M UTC")
            message = f"the client key {self.name!r} expired on {day}; ask the operator of this gateway for a new one"
            raise Unauthorized(message, code="invalid_api_key")

    def choose(self, asked: str, upstreams: Sequence[Upstream]) -> list[Upstream]:
        """The upstreams of a name that the key may use. Raises NotFound if it may not use the model, as the vendors do,
        and Forbidden if it may not use the providers."""
        own = [upstream for upstream in upstreams if self.may_name(_true_name(asked, upstream), upstream.label)]
        if not own:
            message = f"the client key {self.name!r} may not use the model {asked[:MAX_QUOTED]!r}; its models are "
            raise NotFound(message + _list(self.models), param="model", code="model_not_found")
        allowed = [upstream for upstream in own if self.may_use(upstream.provider.name)]
        if not allowed:
            message = (
                f"the client key {self.name!r} may not use the provider of {asked[:MAX_QUOTED]!r}; its providers are "
            )
            raise Forbidden(message + _list(self.providers), param="model")
        return allowed

    def may_name(self, asked: str, label: str) -> bool:
        """Whether the key may use a model, by the requested name or by `provider/model`. What only Claude Code adds to
        a name says nothing of the model: `claude-via/gpt-5` is no `claude-*`."""
        if not self.models:
            return True
        plain = plain_name(asked)
        return any(fnmatchcase(plain, pattern) or fnmatchcase(label, pattern) for pattern in self.models)

    def may_use(self, provider: str) -> bool:
        return not self.providers or any(fnmatchcase(provider, pattern) for pattern in self.providers)


# The client if no key is required.
ANYBODY = ClientKey()


def _true_name(asked: str, upstream: Upstream) -> str:
    """A requested name without what gives no right to the upstream that answers it: the whole name if nobody knows it
    and only models.default accepts it, and a maker before it whose model this is not."""
    if upstream.matched == DEFAULT and not (is_tier_name(asked) or asked in PLACEHOLDERS):
        return upstream.model
    plain = plain_name(asked)
    maker = maker_before(plain)
    said = (upstream.model, upstream.label, upstream.matched.removeprefix('models.routes."'))
    if any(name.startswith(maker) for name in said) or any(kind in maker.lower() for kind in family_kinds(plain)):
        return plain
    return plain.removeprefix(maker)


def read_key(name: str, tenant: str, settings: KeySettings) -> ClientKey:
    return ClientKey(
        name=name,
        tenant=tenant,
        role=settings.role,
        named=True,
        models=settings.models,
        providers=settings.providers,
        expires=settings.expires.timestamp() if settings.expires is not None else None,
        limits=read_limits(settings),
    )


def _list(patterns: Sequence[str]) -> str:
    more = f" and {len(patterns) - MAX_NAMED} more" if len(patterns) > MAX_NAMED else ""
    return ", ".join(patterns[:MAX_NAMED]) + more
