"""Every setting, in one frozen table per table of the configuration file.

What each key means to its user stands in docs/configuration.md; a test compares both.
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
# What servers are told apart by; app/providers/servers.toml says what each can take.
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
# An empty key, from a variable that is set to nothing, would let everybody in.
Key = Annotated[str, Meta(min_length=1)]
Count = Annotated[int, Meta(ge=1)]
# Up to a year: more is a slip, and more than clocks and sockets take.
Seconds = Annotated[float, Meta(gt=0, le=31_536_000)]
Dollars = Annotated[float, Meta(ge=0)]


class Table(Struct, frozen=True, kw_only=True):
    """A table whose repr hides its secrets, so that a traceback or a log line cannot tell them."""

    def __repr__(self) -> str:
        return f"{type(self).__name__}({masked(self)})"


class ServerSettings(Table, frozen=True, kw_only=True):
    """`[server]`. Times are seconds."""

    host: str = "127.0.0.1"
    port: Port = 8080
    # One worker is one core. On a laptop one is enough for hundreds of streams and costs 50 MB, not 50 MB a core.
    workers: Count = 1
    worker: Literal["gateway", "gevent"] = "gateway"
    # As chmod takes it; whoever may write to a socket may connect.
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
    """How much may be used by a client's key, or of a provider. Budgets are dollars; None sets no limit."""

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
    """One entry of a provider's `credentials`: one of the four, and the name that logs have for it."""

    name: str = ""
    api_key: str | None = None
    access_token: str | None = None
    token_file: str | None = None
    credentials_file: str | None = None
    priority: int = 0


class ProviderSettings(UseLimits, frozen=True, kw_only=True):
    """`[providers.NAME]`. Times are seconds; None leaves the choice to the provider's own default."""

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
        """The context window that is configured for a model: one for all, or by its name or a pattern of it."""
        configured = self.context_window
        if not isinstance(configured, dict):
            return configured
        globs = sorted(configured, key=lambda glob: (glob != model, -len(glob)))
        return next((configured[glob] for glob in globs if fnmatchcase(model, glob)), None)


class LimitsSettings(Table, frozen=True, kw_only=True):
    """`[limits]`: the most that one upstream may send. Real answers never come near."""

    reply_mb: Count = 64
    stream_mb: Count = 256
    event_mb: Count = 16
    error_kb: Count = 1024
    head_kb: Count = 128


class RouteSettings(Table, frozen=True, kw_only=True):
    """One entry of `[models.routes]`: `targets` are tried in order until one answers."""

    targets: tuple[str, ...]
    reasoning_effort: str | None = None
    max_output: Count | None = None
    context_window: Count | None = None
    assumed_window: Count | None = None
    strict: bool = False
    lenient: bool = False


class ModelsSettings(Table, frozen=True, kw_only=True):
    """`[models]`: where a model's name leads. `small` takes names with "haiku", `big` other Claude names."""

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
    """`[ledger]`: what outlives a request. Without `url` it is a file in the user's data folder."""

    url: str | None = None
    ttl_days: Count = 30
    max_mb: Count = 1024
    reasoning_mb: Annotated[int, Meta(ge=0)] = 64
    required: bool = False


class AccountsSettings(Table, frozen=True, kw_only=True):
    """`[accounts]`: who used what. It lies beside the ledger's file, or in the ledger's Postgres."""

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
    """`[alerts]`: who is told what. Times are seconds."""

    webhooks: tuple[Key, ...] = ()
    slack: tuple[Key, ...] = ()
    kinds: tuple[AlertKind, ...] = ()
    interval: Seconds = 900.0


class PermissionsSettings(Table, frozen=True, kw_only=True):
    """`[permissions]`: how long a program waits for leave to use a tool, and whose leave counts."""

    timeout_seconds: Annotated[float, Meta(ge=5, le=300)] = 30.0
    answered_by: Literal["admin", "tenant"] = "admin"


class PushSettings(Table, frozen=True, kw_only=True):
    """`[push]`: metrics for a Prometheus Pushgateway. Times are seconds."""

    url: str | None = None
    job: Key = "dragoman"
    instance: str | None = None
    interval: Seconds = 30.0


RawPart = Literal["client_request", "client_response", "provider_request", "provider_response"]


class RawLogSettings(Table, frozen=True, kw_only=True):
    """`[raw_log]`: what goes over the wire, in files. Off by default: it holds conversations."""

    enabled: bool = False
    folder: str | None = None
    parts: tuple[RawPart, ...] = ("client_request", "client_response", "provider_request", "provider_response")
    max_body_kb: Count = 1024
    max_mb: Count = 512
    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ("/health", "/metrics")


class KeySettings(UseLimits, frozen=True, kw_only=True):
    """`[keys.NAME]`: a client's key with rights and limits."""

    key: Key
    role: Literal["client", "admin"] = "client"
    models: tuple[str, ...] = ()
    providers: tuple[str, ...] = ()
    expires: datetime.datetime | None = None


class SharedSettings(Table, frozen=True, kw_only=True):
    """`[shared]`: what several hosts have in common beside the ledger's database."""

    redis: str | None = None
    fail_closed: bool = False


class PriceStep(Struct, frozen=True, forbid_unknown_fields=True):
    """Prices of a request whose whole input is longer than `above` tokens."""

    above: int
    input: Dollars
    output: Dollars
    cache_read: Dollars | None = None
    cache_write: Dollars | None = None
    cache_write_1h: Dollars | None = None


class PriceSettings(Table, frozen=True, kw_only=True):
    """One entry of `[prices]`: dollars a million tokens; `image` and `search` for each one; `batch` is a factor.

    None means that the vendor has no price of its own for it: cached input then costs what fresh input does.
    """

    input: Dollars
    output: Dollars
    cache_read: Dollars | None = None
    cache_write: Dollars | None = None
    cache_write_1h: Dollars | None = None
    steps: tuple[PriceStep, ...] = ()
    batch: Dollars | None = None
    image: Dollars | None = None
    search: Dollars | None = None
    source: str = "the configuration"
    date: str = ""


class Finding(Struct, frozen=True):
    """A credential that was found on the machine: for which provider, where, and whether it is used."""

    provider: str
    where: str
    used: bool = True


class Settings(Table, frozen=True, kw_only=True):
    """Everything the program was told. `source` is the file it was read from, `found` what the machine had;
    `key_variable` names the variable that holds the first client key, where the file takes it from one."""

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
