"""Every setting, in one frozen table per table of the configuration file.

docs/configuration.md explains each key to users; a test compares the two.
"""

from __future__ import annotations

import datetime
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

from app.settings.masking import masked

Dialect = Literal["anthropic_messages", "openai_chat", "openai_responses"]
LogLevel = Literal["debug", "info", "warn", "error"]
# Distinguishes kinds of servers. app/providers/servers.toml says what each of them supports.
Profile = Literal[
    "openai",
    "azure",
    "openrouter",
    "vllm",
    "ollama",
    "llamacpp",
    "lmstudio",
    "deepseek",
    "kimi",
    "glm",
    "qwen",
    "mistral",
    "gemini",
    "litellm",
    "groq",
    "cerebras",
    "xai",
    "minimax",
    "together",
    "fireworks",
    "databricks",
    "modelscope",
    "siliconflow",
    "volcengine",
    "nvidia",
    "huggingface",
    "copilot",
    "sglang",
    "tgi",
    "oca",
    "codex",
    "anthropic",
    "generic",
]

Port = Annotated[int, Meta(ge=0, le=65535)]
# Not empty: an empty key, from a variable that is set to nothing, would let everybody in.
Key = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=1)]
# At most a year: more is a slip, and more than clocks and sockets accept.
Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]
Dollars = Annotated[float, Meta(ge=0)]


class Table(Struct, frozen=True, kw_only=True):
    """A table whose repr masks secrets, to keep them out of tracebacks and log lines."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({masked(self)})"


class ServerSettings(Table, frozen=True, kw_only=True):
    """`[server]`. Times are in seconds."""

    host: str = "127.0.0.1"
    port: Port = 8080
    # A worker uses one core. On a laptop one is enough for hundreds of streams; each costs 50 MB.
    workers: Count = 1
    worker: Literal["gateway", "gevent"] = "gateway"
    # As chmod accepts it. Whoever may write to a socket may connect.
    socket_mode: Annotated[str, Meta(pattern="^0?[0-7]{3}$")] = "0660"
    api_keys: tuple[Key, ...] = ()
    allow_open: bool = False
    allowed_hosts: tuple[str, ...] = ()
    cors_origins: tuple[str, ...] = ()
    trusted_proxies: tuple[str, ...] = ()
    root_path: Annotated[str, Meta(max_length=128)] | None = None
    max_body_mb: Count = 100
    bodies_mb: Count | None = None
    client_timeout: Seconds = 75.0
    fetch_urls: bool = False
    max_attempts: Count = 3
    stream_start_timeout: Seconds = 10.0
    ping_interval: Seconds = 10.0
    graceful_timeout: Seconds = 600.0
    proxies: dict[str, str] | None = None
    ca_bundle: str | None = None
    quirks_file: str | None = None
    log_level: LogLevel = "info"
    log_format: Literal["auto", "text", "json"] = "auto"
    log_file: str | None = None
    log_file_mb: Count = 50
    log_files: Count = 10
    log_days: Count = 30
    metrics: Literal["local", "key", "open"] = "local"
    dashboard: bool = True
    record: Literal["off", "errors", "all"] = "off"
    demo: bool | None = None
    open_browser: bool = True


class UseLimits(Table, frozen=True, kw_only=True):
    """Limits on the use of a client's key or a provider. Budgets are in dollars; None sets no limit."""

    requests_per_minute: Count | None = None
    requests_per_hour: Count | None = None
    requests_per_day: Count | None = None
    tokens_per_minute: Count | None = None
    tokens_per_hour: Count | None = None
    tokens_per_day: Count | None = None
    max_parallel: Count | None = None
    budget_per_day: Dollars | None = None
    budget_per_month: Dollars | None = None


class CredentialSettings(Table, frozen=True, kw_only=True):
    """One entry of a provider's `credentials`: exactly one credential, and the name that logs use for it."""

    name: str = ""
    api_key: str | None = None
    access_token: str | None = None
    token_file: str | None = None
    credentials_file: str | None = None
    priority: int = 0


class ProviderSettings(UseLimits, frozen=True, kw_only=True):
    """`[providers.NAME]`. Times are in seconds. None leaves the choice to the provider's default."""

    kind: str
    dialect: Dialect | None = None
    base_url: str | None = None
    profile: Profile | None = None
    quirks: dict[str, Any] = {}
    headers: dict[str, str] = {}
    api_version: str | None = None
    trace_context: bool = False

    api_key: str | None = None
    access_token: str | None = None
    auth: Literal["configured", "passthrough"] | None = None
    token_file: str | None = None
    credentials_file: str | None = None
    credentials: tuple[CredentialSettings, ...] = ()
    mode: Literal["internal", "external"] | None = None
    idcs_url: str | None = None
    oauth_token_url: str | None = None
    oauth_authorize_url: str | None = None
    redirect_uris: tuple[str, ...] = ()
    client_id: str | None = None
    scopes: tuple[str, ...] = ()
    command: tuple[str, ...] = ()
    cli_refresh: bool = False
    max_processes: Count = 8
    warm_programs: Annotated[int, Meta(ge=0, le=32)] = 0
    tools: Literal["client", "own", "off"] = "client"
    tool_activity: Literal["hidden", "text"] = "hidden"
    system_prompt: Literal["replace", "append"] = "replace"
    mcp_config: str | None = None
    folder: str | None = None
    max_turns: Count = 50
    client_options: bool = False
    session_minutes: Count = 60
    max_sessions: Count = 1000

    models: tuple[str, ...] = ()
    default_model: str | None = None
    context_window: Count | dict[str, Count] | None = None
    assumed_window: Count | None = None
    reasoning_effort: str | None = None

    connect_timeout: Seconds = 10.0
    first_byte_timeout: Seconds = 600.0
    idle_timeout: Seconds = 300.0
    total_timeout: Seconds | None = None
    queue_timeout: Seconds = 60.0
    health_check: bool = True

    proxies: dict[str, str] | None = None
    ca_bundle: str | None = None
    client_cert: str | None = None
    client_key: str | None = None

    def window_of(self, model: str) -> int | None:
        """The context window configured for a model: one for all models, or by name or glob, where the exact name wins
        and then the longest glob."""
        configured = self.context_window
        if not isinstance(configured, dict):
            return configured
        globs = sorted(configured, key=lambda glob: (glob != model, -len(glob)))
        return next((configured[glob] for glob in globs if fnmatchcase(model, glob)), None)


class LimitsSettings(Table, frozen=True, kw_only=True):
    """`[limits]`: the most that an upstream may send. Real replies never come near."""

    reply_mb: Count = 64
    stream_mb: Count = 256
    event_mb: Count = 16
    error_kb: Count = 1024
    head_kb: Count = 128


class RouteOptions(Table, frozen=True, kw_only=True):
    """What a route sets besides its targets."""

    reasoning_effort: str | None = None
    max_output: Count | None = None
    context_window: Count | None = None
    assumed_window: Count | None = None
    strict: bool = False
    lenient: bool = False


class RouteSettings(RouteOptions, frozen=True, kw_only=True):
    """One entry of `[models.routes]`: `targets` are tried in order until one answers."""

    targets: tuple[str, ...]


class ModelsSettings(Table, frozen=True, kw_only=True):
    """`[models]`: where a model's name leads. `small` serves names with "haiku", `big` other Claude names."""

    default: str | None = None
    small: str | None = None
    big: str | None = None
    sonnet: str | None = None
    opus: str | None = None
    fable: str | None = None
    mythos: str | None = None
    unknown: Literal["default", "refuse"] = "default"
    presets: tuple[str, ...] = ()
    routes: dict[str, RouteSettings] = {}


class LedgerSettings(Table, frozen=True, kw_only=True):
    """`[ledger]`: storage for what outlives a request. Without `url` it is a file in the user's data folder."""

    url: str | None = None
    ttl_days: Count = 30
    max_mb: Count = 1024
    reasoning_mb: Annotated[int, Meta(ge=0)] = 64
    required: bool = False


class AccountsSettings(Table, frozen=True, kw_only=True):
    """`[accounts]`: who used what. Stored beside the ledger's file, or in the ledger's Postgres."""

    enabled: bool = True
    days: Count = 30
    rollup_days: Count = 400
    recording_hours: Count = 24
    recording_mb: Count = 200


class HooksSettings(Table, frozen=True, kw_only=True):
    """`[hooks]`: which hooks of installed packages are off, and which must not fail."""

    off: tuple[str, ...] = ()
    required: tuple[str, ...] = ()


AlertKind = Literal[
    "provider_down", "login_ends", "login_ended", "loop_dead", "ledger_down", "config_refused", "budget"
]


class AlertsSettings(Table, frozen=True, kw_only=True):
    """`[alerts]`: where alerts go, and which kinds are sent. Times are in seconds."""

    webhooks: tuple[Key, ...] = ()
    slack: tuple[Key, ...] = ()
    kinds: tuple[AlertKind, ...] = ()
    interval: Seconds = 900.0


class PermissionsSettings(Table, frozen=True, kw_only=True):
    """`[permissions]`: how long a program waits for permission to use a tool, and who may grant it."""

    timeout_seconds: Annotated[float, Meta(ge=5, le=300)] = 30.0
    answered_by: Literal["admin", "tenant"] = "admin"


class PushSettings(Table, frozen=True, kw_only=True):
    """`[push]`: metrics for a Prometheus Pushgateway. Times are in seconds."""

    url: str | None = None
    job: Key = "dragoman"
    instance: str | None = None
    interval: Seconds = 30.0


RawPart = Literal["client_request", "client_response", "provider_request", "provider_response"]


class RawLogSettings(Table, frozen=True, kw_only=True):
    """`[raw_log]`: writes what goes over the wire to files. Off by default, since it holds conversations."""

    enabled: bool = False
    folder: str | None = None
    parts: tuple[RawPart, ...] = ("client_request", "client_response", "provider_request", "provider_response")
    max_body_kb: Count = 1024
    max_mb: Count = 512
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ("/health", "/metrics")


class KeySettings(UseLimits, frozen=True, kw_only=True):
    """`[keys.NAME]`: a client's key with its rights and limits."""

    key: Key
    role: Literal["client", "admin"] = "client"
    models: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    expires: datetime.datetime | None = None


class SharedSettings(Table, frozen=True, kw_only=True):
    """`[shared]`: what several hosts share besides the ledger's database."""

    redis: str | None = None
    fail_closed: bool = False


class PriceStep(Struct, frozen=True, forbid_unknown_fields=True):
    """Prices for requests whose whole input is longer than `above` tokens."""

    above: Count
    input: Dollars
    output: Dollars
    cache_read: Dollars | None = None
    cache_write: Dollars | None = None
    cache_write_1h: Dollars | None = None


class PriceSettings(Table, frozen=True, kw_only=True):
    """One entry of `[prices]`, in dollars per million tokens; `image` and `search` are per unit; `batch`, `priority`
    and `us` are factors. `media` is for output tokens of images and sound.

    None means that the vendor has no separate price: cached input then costs as much as fresh input. What has no price
    at all (`image`, `search`, `media`) leaves a reply that contains it without a cost.
    """

    input: Dollars
    output: Dollars
    cache_read: Dollars | None = None
    cache_write: Dollars | None = None
    cache_write_1h: Dollars | None = None
    steps: tuple[PriceStep, ...] = ()
    batch: Dollars | None = None
    priority: Dollars | None = None
    us: Dollars | None = None
    media: Dollars | None = None
    image: Dollars | None = None
    search: Dollars | None = None
    source: str = "the configuration"
    date: str = ""


class Finding(Struct, frozen=True):
    """A credential that was found on the machine: its provider, its place, and whether it is used."""

    provider: str
    where: str
    used: bool = True


class Settings(Table, frozen=True, kw_only=True):
    """All settings. `source` is the configuration file, `found` the credentials found on the machine. `key_variable`
    names the environment variable that holds a client key, if one does."""

    server: ServerSettings = ServerSettings()
    providers: dict[str, ProviderSettings] = {}
    models: ModelsSettings = ModelsSettings()
    ledger: LedgerSettings = LedgerSettings()
    limits: LimitsSettings = LimitsSettings()
    accounts: AccountsSettings = AccountsSettings()
    hooks: HooksSettings = HooksSettings()
    alerts: AlertsSettings = AlertsSettings()
    permissions: PermissionsSettings = PermissionsSettings()
    raw_log: RawLogSettings = RawLogSettings()
    push: PushSettings = PushSettings()
    prices: dict[str, PriceSettings] = {}
    keys: dict[str, KeySettings] = {}
    shared: SharedSettings = SharedSettings()
    source: Path | None = None
    found: tuple[Finding, ...] = ()
    key_variable: str | None = None
