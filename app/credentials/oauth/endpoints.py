"""OAuth parameters of each login: URLs, client ids, scopes, redirects and encodings.

These are defaults. The configuration can replace each of them, because issuers move and tests run on loopback.
"""

from __future__ import annotations

from typing import Literal

import msgspec

Encoding = Literal["form", "json"]


class Endpoints(msgspec.Struct, frozen=True, kw_only=True):
    """The parameters with which one kind of login talks to its issuer.

    `redirect_uris` are those registered with the issuer, best first; a login must use one of them verbatim.
    `discovery` says that the issuer publishes its token address. `refresh_scopes` are sent with a renewal.
    """

    kind: str
    client_id: str
    scopes: tuple[str, ...]
    issuer: str = ""
    authorize_url: str
    token_url: str
    revoke_url: str = ""
    redirect_uris: tuple[str, ...]
    discovery: bool = False
    exchange_encoding: Encoding = "form"
    refresh_encoding: Encoding = "form"
    refresh_scopes: tuple[str, ...] = ()
    authorize_extra: dict[str, str] = {}
    # Claude's token endpoint demands the state along with the code.
    exchange_state: bool = False
    uses_nonce: bool = False


# Issuer and client id of Oracle's two environments, for staff and for customers.
OCA_ENVIRONMENTS: dict[str, tuple[str, str]] = {
    "internal": (
        "https://idcs-9dc693e80d9b469480d7afe00e743931.identity.oraclecloud.com",
        "a8331954c0cf48ba99b5dd223a14c6ea",
    ),
    "external": ("https://login-ext.identity.oraclecloud.com", "c1aba3deed5740659981a752714eba33"),
}

_OCA_REDIRECTS = tuple(f"http://localhost:{port}/callback" for port in (8669, 8668, 8667)) + tuple(
    f"http://127.0.0.1:{port}/auth/oca" for port in range(48801, 48812)
)

_CLAUDE_SCOPES = (
    "user:profile",
    "user:inference",
    "user:sessions:claude_code",
    "user:mcp_servers",
    "user:file_upload",
    "user:plugins",
)

_CLAUDE = Endpoints(
    kind="anthropic",
    client_id="9d1c250a-e61b-44d9-88ed-5944d1962f5e",
    scopes=("org:create_api_key", *_CLAUDE_SCOPES, "user:privacy_consents:write"),
    authorize_url="https://claude.com/cai/oauth/authorize",
    token_url="https://platform.claude.com/v1/oauth/token",
    redirect_uris=("https://platform.claude.com/oauth/code/callback",),
    exchange_encoding="json",
    refresh_encoding="json",
    refresh_scopes=_CLAUDE_SCOPES,
    # Makes the page show a code for pasting instead of redirecting to a local port.
    authorize_extra={"code": "true"},
    exchange_state=True,
)

_CODEX_ISSUER = "https://auth.openai.com"


def find_endpoints(
    kind: str,
    *,
    mode: str | None = None,
    issuer: str | None = None,
    authorize_url: str | None = None,
    token_url: str | None = None,
    client_id: str | None = None,
    scopes: tuple[str, ...] = (),
    redirect_uris: tuple[str, ...] = (),
) -> Endpoints:
    """The endpoints of a login of `kind` ("oca", "anthropic", "codex"). Configured values override the defaults.

    `mode` is OCA's environment, by default "internal". A configured `token_url` switches discovery off. Raises KeyError
    for a kind or mode that has no login.
    """
    match kind:
        case "oca":
            endpoints = _oca_endpoints(mode or "internal", issuer)
        case "anthropic":
            endpoints = _CLAUDE
        case "codex":
            endpoints = _codex_endpoints(issuer or _CODEX_ISSUER)
        case _:
            raise KeyError(kind)
    given: dict[str, str | tuple[str, ...] | None] = {
        "authorize_url": authorize_url,
        "token_url": token_url,
        "client_id": client_id,
        "scopes": scopes,
        "redirect_uris": redirect_uris,
    }
    changes = {name: value for name, value in given.items() if value}
    discovery = endpoints.discovery and not token_url
    return msgspec.structs.replace(endpoints, discovery=discovery, **changes)


def _oca_endpoints(mode: str, issuer: str | None) -> Endpoints:
    default_issuer, client_id = OCA_ENVIRONMENTS[mode]
    issuer = (issuer or default_issuer).rstrip("/")
    return Endpoints(
        kind="oca",
        client_id=client_id,
        scopes=("openid", "offline_access"),
        issuer=issuer,
        authorize_url=f"{issuer}/oauth2/v1/authorize",
        token_url=f"{issuer}/oauth2/v1/token",
        redirect_uris=_OCA_REDIRECTS,
        discovery=True,
        uses_nonce=True,
    )


def _codex_endpoints(issuer: str) -> Endpoints:
    issuer = issuer.rstrip("/")
    return Endpoints(
        kind="codex",
        client_id="app_EMoamEEZ73f0CkXaXp7hrann",
        scopes=("openid", "profile", "email", "offline_access", "api.connectors.read", "api.connectors.invoke"),
        issuer=issuer,
        authorize_url=f"{issuer}/oauth/authorize",
        token_url=f"{issuer}/oauth/token",
        revoke_url=f"{issuer}/oauth/revoke",
        redirect_uris=("http://localhost:1455/auth/callback", "http://localhost:1457/auth/callback"),
        exchange_encoding="form",
        refresh_encoding="json",
        authorize_extra={
            "id_token_add_organizations": "true",
            "codex_cli_simplified_flow": "true",
            "originator": "dragoman",
        },
    )
