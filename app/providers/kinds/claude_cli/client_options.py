"""Claude program options that a client may set if `client_options` allows it. None of them grants a permission."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from app.errors import Forbidden, InvalidRequest
from app.settings import ProviderSettings

ToolName = Annotated[str, Meta(min_length=1, max_length=200, pattern=r"^[A-Za-z0-9_*(][^\x00-\x1f,]*$")]


class _Server(msgspec.Struct, forbid_unknown_fields=True):
    """An MCP server reached over HTTP; only the operator may name one that is a local program."""

    type: Literal["http", "sse"]
    url: Annotated[str, Meta(max_length=2000, pattern=r"^https?://[^\s]+$")]
    headers: dict[str, str] = {}


class ClientOptions(msgspec.Struct, frozen=True):
    """The options that a client has set; None or empty if unset."""

    allowed_tools: tuple[ToolName, ...] | None = None
    disallowed_tools: tuple[ToolName, ...] = ()
    max_thinking_tokens: Annotated[int, Meta(ge=0, le=1_000_000)] | None = None
    max_turns: Annotated[int, Meta(ge=1, le=1000)] | None = None
    append_system_prompt: Annotated[str, Meta(max_length=100_000)] | None = None
    permission_mode: Literal["default", "plan", "dontAsk"] | None = None
    mcp_servers: dict[Annotated[str, Meta(pattern=r"^[A-Za-z0-9_-]{1,64}$")], _Server] = {}
    cwd: str | None = None

    def arguments(self, most_turns: int, *, own_tools: bool) -> list[str]:
        """The options as program arguments. `most_turns` caps the number of turns; `own_tools` allows the program's own
        tools."""
        given = ["--max-turns", str(min(self.max_turns or most_turns, most_turns))]
        if not own_tools:
            given += ["--tools", ""]
        elif self.allowed_tools is not None:
            given += ["--tools", ",".join(self.allowed_tools)]
        if self.disallowed_tools:
            given += ["--disallowedTools", ",".join(self.disallowed_tools)]
        if self.permission_mode is not None:
            given += ["--permission-mode", self.permission_mode]
        if self.append_system_prompt:
            given += ["--append-system-prompt", self.append_system_prompt]
        return given

    def environ(self) -> dict[str, str]:
        return {} if self.max_thinking_tokens is None else {"MAX_THINKING_TOKENS": str(self.max_thinking_tokens)}


NAMES = frozenset(ClientOptions.__struct_fields__)
# Options of the program that the request path expresses here.
_BY_PATH = {"continue_conversation", "resume", "mcp_tools"}


def take_options(fields: dict[str, msgspec.Raw], settings: ProviderSettings) -> ClientOptions:
    """Removes the options from the fields of a request and returns them. Raises Forbidden if they are not allowed,
    InvalidRequest if they are invalid."""
    given: dict[str, Any] = {name: fields.pop(name) for name in tuple(fields) if name in NAMES | _BY_PATH}
    if not given:
        return ClientOptions()
    first = min(given)
    if not settings.client_options:
        raise Forbidden(
            f"{first}: clients may not set options of the program; to allow it, set the provider's client_options"
        )
    if by_path := given.keys() & _BY_PATH:
        name = min(by_path)
        raise InvalidRequest(f"{name}: use a session in the path, /claude/SESSION, or mcp_servers", param=name)
    try:
        options = msgspec.convert({name: msgspec.json.decode(value) for name, value in given.items()}, ClientOptions)
    except msgspec.MsgspecError as error:
        name = next((name for name in sorted(given) if f"$.{name}" in str(error)), first)
        raise InvalidRequest(f"{name}: {error}"[:300], param=name) from error
    if options.cwd is not None:
        _check_folder(options.cwd, settings.folder)
    return options


def _check_folder(cwd: str, root: str | None) -> None:
    """Requires a client's folder to be inside the provider's working folder. Raises Forbidden or InvalidRequest."""
    if root is None:
        raise Forbidden(
            "cwd: this provider has no working folder, so a client cannot choose one; set the provider's cwd"
        )
    inside = Path(root).expanduser().resolve()
    wanted = Path(cwd)
    if "\0" in cwd or not wanted.is_absolute() or not wanted.resolve().is_relative_to(inside) or not wanted.is_dir():
        raise InvalidRequest(
            "cwd: must be an existing folder inside the provider's working folder, as an absolute path", param="cwd"
        )
