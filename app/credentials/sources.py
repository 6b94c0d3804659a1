"""Chooses a provider's credential source: from the configuration, else the environment, else the machine."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping
from os.path import exists
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import msgspec

from app.credentials.cli_refresh import CliRefresh
from app.credentials.credential import CredentialSource
from app.credentials.formats import claude_file, codex_file, oca_file
from app.credentials.formats.login_format import LoginFormat
from app.credentials.login_source import WAIT_LIMIT, LoginSource
from app.credentials.oauth.endpoints import Endpoints, find_endpoints
from app.credentials.pool import CredentialPool, PoolMember
from app.credentials.renewal import RefreshCall, renew_login
from app.credentials.static import StaticSource
from app.credentials.stores.login_store import EnvironmentStore, FileStore, KeyringStore, LoginStore
from app.credentials.stores.private_files import companion_places, runtime_folder
from app.credentials.stores.stored_login import StoredLogin
from app.credentials.tokens import Tokens, read_issuer
from app.settings.discovered.login_files import find_claude_files, find_codex_files, find_oca_files, own_oca_file
from app.settings.pasted_keys import clean_key
from app.settings.tables import ProviderSettings

if TYPE_CHECKING:
    from app.credentials.oauth.token_endpoint import OpenSession, TokenEndpoint

log = logging.getLogger("dragoman.credentials")

# The file format of each kind of provider with logins. Token files of other kinds are read as OCA's, whose format
# includes bare text and the usual names.
FORMATS: dict[str, LoginFormat] = {
    "oca": oca_file,
    "anthropic": claude_file,
    "codex": codex_file,
}

_API_KEYS: dict[str, tuple[str, ...]] = {
    "anthropic": ("ANTHROPIC_API_KEY",),
    "codex": ("CODEX_API_KEY",),
    "openai": ("OPENAI_API_KEY",),
}

_ACCESS_TOKENS: dict[str, tuple[str, ...]] = {
    "oca": ("OCA_TOKEN", "OCA_ACCESS_TOKEN", "OCA_API_KEY"),
    "anthropic": ("CLAUDE_ACCESS_TOKEN", "CLAUDE_CODE_OAUTH_TOKEN"),
    "codex": ("CODEX_ACCESS_TOKEN",),
}

# The keyring entry that macOS uses instead of Claude's login file.
_CLAUDE_KEYRING = "Claude Code-credentials"


def open_source(
    settings: ProviderSettings,
    environ: Mapping[str, str],
    home: Path,
    open_session: OpenSession,
    *,
    name: str = "",
    wait_limit: float = WAIT_LIMIT,
    clock: Callable[[], float] = time.time,
    monotonic: Callable[[], float] = time.monotonic,
) -> CredentialSource | None:
    """The source for one provider. It should also be given to the watcher. Opening it reads no configured file.

    `open_session` returns the session for calls to the issuer, and is called only when there is something to renew.
    `name` is the provider's in the settings, for messages. `wait_limit` is how many seconds a request waits for a
    renewal without which it cannot be sent.

    None if the provider has no credential of its own: an open server, or one that gets the client's credential. A
    provider of a kind that needs a login, or whose `auth` is "configured", always has a source. Without a login, that
    raises an error with the remedy, and it adopts a login when one appears.
    """
    if settings.auth == "passthrough":
        return None
    if settings.credentials:
        return _open_pool(name or settings.kind, settings, environ, home, open_session)
    configured = _open_static(name or settings.kind, settings, environ)
    if configured is not None:
        if settings.cli_refresh:
            log.info("[token-refresh] a key or token is set, so the CLI is not run")
        return configured
    if (settings.token_file or settings.credentials_file) is None:
        found = _open_environment(settings, environ)
        if found is not None:
            return found
    store = _choose_store(settings, environ, home, clock)
    if store is None:
        return None
    login = StoredLogin(settings.kind, store, FORMATS.get(settings.kind, oca_file), clock=clock)
    call = make_refresh_call(settings, environ, open_session, clock=clock)
    return LoginSource(
        login,
        (lambda unwanted: renew_login(login, call, unwanted, clock=clock)) if call is not None else None,
        # Users of this file expect a renewed token to take effect with the next request.
        watch_closely=settings.kind == "anthropic" and isinstance(store, FileStore),
        wait_limit=wait_limit,
        errand=_open_cli_refresh(settings, store, environ, clock),
        clock=clock,
        monotonic=monotonic,
    )


def _choose_store(
    settings: ProviderSettings, environ: Mapping[str, str], home: Path, clock: Callable[[], float]
) -> LoginStore | None:
    """Where this provider's login is kept: in the configured file, else where the machine keeps it."""
    runtime = runtime_folder(environ)
    path = settings.token_file or settings.credentials_file
    if path is not None:
        return FileStore((Path(path).expanduser(),), own=own_oca_file(home), runtime=runtime, clock=clock)
    store = find_store(settings.kind, environ, home, clock)
    if store is None and settings.kind == "anthropic" and settings.auth == "configured":
        return FileStore(find_claude_files(environ, home), runtime=runtime, clock=clock)
    return store


def find_store(
    kind: str, environ: Mapping[str, str], home: Path, clock: Callable[[], float] = time.time
) -> LoginStore | None:
    """The store in which this machine keeps, or would keep, the login for providers of `kind`. None if they have no
    logins.

    Claude's is None until there is a login, because without one the client's own credential is passed on.
    """
    runtime = runtime_folder(environ)
    match kind:
        case "oca":
            if environ.get("OCA_REFRESH_TOKEN"):
                text = msgspec.json.encode({"refresh_token": environ["OCA_REFRESH_TOKEN"]}).decode()
                return EnvironmentStore("OCA_REFRESH_TOKEN", text, runtime)
            own = own_oca_file(home)
            candidates = find_oca_files(environ, home)
            # Cline's files may exist without an OCA login. A missing file may still get one.
            paths = tuple(path for path in candidates if path == own or not exists(path) or _holds_login(path, kind))
            return FileStore(paths, own=own, runtime=runtime, clock=clock)
        case "anthropic":
            if environ.get("CLAUDE_OAUTH_CREDS"):
                return EnvironmentStore("CLAUDE_OAUTH_CREDS", environ["CLAUDE_OAUTH_CREDS"], runtime)
            paths = find_claude_files(environ, home)
            if any(exists(path) for path in paths):
                return FileStore(paths, runtime=runtime, clock=clock)
            keyring = KeyringStore(_CLAUDE_KEYRING, environ.get("USER", ""), runtime)
            return keyring if _keyring_holds_login(keyring) else None
        case "codex":
            return FileStore(find_codex_files(environ, home), runtime=runtime, clock=clock)
        case _:
            return None


def endpoints_of(settings: ProviderSettings, environ: Mapping[str, str], tokens: Tokens | None = None) -> Endpoints:
    """The endpoints for this provider's logins and renewals: as configured, else as in `tokens`, else the defaults."""
    issuer, client_id, token_url = settings.idcs_url, settings.client_id, settings.oauth_token_url
    mode: str | None = settings.mode
    if settings.kind == "oca":
        issuer = issuer or environ.get("OCA_IDCS_URL")
        client_id = client_id or environ.get("OCA_CLIENT_ID")
        mode = mode or (environ["OCA_MODE"] if environ.get("OCA_MODE") in ("internal", "external") else None)
        if issuer is None and mode is None and tokens is not None:
            # The token names its issuer, which is not configured.
            issuer, own_client_id = read_issuer(tokens.access_token)
            client_id = client_id or own_client_id
    if settings.kind == "codex":
        token_url = token_url or environ.get("CODEX_REFRESH_TOKEN_URL_OVERRIDE")
    return find_endpoints(
        settings.kind,
        mode=mode,
        issuer=issuer,
        authorize_url=settings.oauth_authorize_url,
        token_url=token_url,
        client_id=client_id,
        scopes=settings.scopes,
        redirect_uris=settings.redirect_uris,
    )


def make_refresh_call(
    settings: ProviderSettings,
    environ: Mapping[str, str],
    open_session: OpenSession,
    *,
    clock: Callable[[], float] = time.time,
) -> RefreshCall | None:
    """The call that renews this provider's logins. None for kinds whose tokens are not renewed."""
    if settings.kind not in ("oca", "anthropic", "codex"):
        return None
    # One per set of endpoints, so that discovered addresses are remembered.
    issuers: dict[str, TokenEndpoint] = {}

    def call(tokens: Tokens) -> Tokens:
        endpoints = endpoints_of(settings, environ, tokens)
        name = f"{endpoints.token_url} {endpoints.client_id}"
        issuer = issuers.get(name)
        if issuer is None:
            # Imported here, since it needs requests.
            from app.credentials.oauth.token_endpoint import TokenEndpoint

            issuer = issuers[name] = TokenEndpoint(endpoints, open_session(), clock=clock)
        return issuer.refresh_tokens(tokens.refresh_token or "")

    return call


def _open_cli_refresh(
    settings: ProviderSettings, store: LoginStore, environ: Mapping[str, str], clock: Callable[[], float]
) -> CliRefresh | None:
    if not settings.cli_refresh or not isinstance(store, FileStore):
        return None
    stamp = companion_places(store.path, None, "cli")[0]
    return CliRefresh(settings.command or ("claude",), stamp, environ, clock)


def _open_pool(
    name: str, settings: ProviderSettings, environ: Mapping[str, str], home: Path, open_session: OpenSession
) -> CredentialPool:
    members = []
    for entry in settings.credentials:
        alone = msgspec.structs.replace(
            settings,
            credentials=(),
            api_key=entry.api_key,
            access_token=entry.access_token,
            token_file=entry.token_file,
            credentials_file=entry.credentials_file,
        )
        source = open_source(alone, environ, home, open_session, name=f"{name}.credentials.{entry.name}")
        if source is not None:
            members.append(PoolMember(entry.name, source, entry.priority))
    return CredentialPool(members)


def _open_static(name: str, settings: ProviderSettings, environ: Mapping[str, str]) -> StaticSource | None:
    if settings.api_key:
        source = _name_origin(settings.api_key, environ) or f"providers.{name}.api_key"
        return StaticSource(settings.kind, source=source, api_key=settings.api_key)
    if settings.access_token:
        source = _name_origin(settings.access_token, environ) or f"providers.{name}.access_token"
        return StaticSource(settings.kind, source=source, access_token=settings.access_token)
    return None


def _name_origin(secret: str, environ: Mapping[str, str]) -> str | None:
    """The variable that holds a secret of the settings, if any. That is where its owner has to change it."""
    return next((variable for variable, value in environ.items() if value.strip() == secret), None)


def _open_environment(settings: ProviderSettings, environ: Mapping[str, str]) -> StaticSource | None:
    kind = settings.kind
    # A provider of `kind = "openai"` may be any compatible server, but the vendor's key is only for the vendor.
    if kind == "openai" and settings.base_url and not _is_openai(settings.base_url):
        return None
    for variable in _API_KEYS.get(kind, ()):
        if environ.get(variable):
            return StaticSource(kind, source=variable, api_key=clean_key(environ[variable]))
    for variable in _ACCESS_TOKENS.get(kind, ()):
        if environ.get(variable):
            return StaticSource(kind, source=variable, access_token=clean_key(environ[variable]))
    return None


def _is_openai(url: str) -> bool:
    host = urlsplit(url).hostname or ""
    return host == "openai.com" or host.endswith(".openai.com")


def _holds_login(path: Path, kind: str) -> bool:
    try:
        FORMATS.get(kind, oca_file).parse_login(FileStore((path,)).read())
    except (OSError, ValueError):
        return False
    return True


def _keyring_holds_login(keyring: KeyringStore) -> bool:
    try:
        return bool(keyring.read())
    except OSError:
        return False
