"""Arguments for a Claude program that keeps the conversation itself, in a session or with its own tools.

Such a program asks the model several times for one answer, so the client's messages cannot replace its own: the turns
before the last are written as its transcript, and the last one is its input. Other settings of the client, such as
sampling and limits, still go through CLAUDE_CODE_EXTRA_BODY.

Source: runs of version 2.1.332; `claude --help`; the required fields of a transcript line were found by trying.
"""

from __future__ import annotations

import datetime
import uuid
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import msgspec

from app.credentials.credential import Credential
from app.errors import InvalidRequest, ProgramUnavailable
from app.permissions.prompt import SERVER, TOOL
from app.providers.kinds.claude_cli.client_options import ClientOptions, take_options
from app.providers.kinds.claude_cli.order import (
    SWITCHES,
    name_model,
    read_fields,
    read_system,
    write_environ,
    write_line,
    write_text,
)
from app.providers.kinds.claude_cli.places import Place
from app.settings import ProviderSettings
from app.transport.process import Command

ARGUMENTS = (
    *("-p", "--input-format", "stream-json", "--output-format", "stream-json", "--verbose"),
    *("--include-partial-messages", "--strict-mcp-config", "--setting-sources=", "--disable-slash-commands"),
)
# Safe mode would ignore the configured servers, including the one for permissions.
HELD_SWITCHES = {name: value for name, value in SWITCHES.items() if name != "CLAUDE_CODE_SAFE_MODE"}
# Fields that the program sets itself in this mode.
ITS_OWN = ("model", "stream", "system", "messages", "tools", "tool_choice")


class _Servers(msgspec.Struct):
    mcpServers: dict[str, Any] = {}  # noqa: N815 - as the program spells it


class _Turn(msgspec.Struct):
    role: str
    content: str | list[dict[str, Any]]


_turns_decoder = msgspec.json.Decoder(list[_Turn])


class HeldOrder(msgspec.Struct, frozen=True):
    """One parsed request; how much of it becomes input depends on the place where it will run."""

    program: tuple[str, ...]
    model: str
    fields: dict[str, msgspec.Raw]
    system: str
    history: list[_Turn]
    turns: list[_Turn]
    settings: ProviderSettings
    betas: str
    credential: Credential | None
    mcp_servers: dict[str, Any]
    options: ClientOptions = ClientOptions()

    def __repr__(self) -> str:
        """Omits the conversation and the credential."""
        return f"HeldOrder({self.model})"

    def write(self, place: Place, run: Path, environ: Mapping[str, str]) -> Command:
        """The command to run in `place`; its files are in the folder `run`. `environ` is what the program inherits.
        Writes the turns that the program does not know to its transcript. Raises OSError."""
        settings = {"disableAllHooks": True, "env": {"CLAUDE_CODE_EXTRA_BODY": write_text(self.fields)}}
        files = {"settings.json": msgspec.json.encode(settings)}
        arguments = [*self.program, *ARGUMENTS, *name_model(self.model), "--settings", str(run / "settings.json")]
        own_tools = self.settings.tools == "own"
        arguments += self.options.arguments(self.settings.max_turns, own_tools=own_tools)
        if own_tools:
            # A client's server cannot replace one of ours.
            servers = {**self.options.mcp_servers, **self.mcp_servers}
            files["servers.json"] = msgspec.json.encode({"mcpServers": servers})
            arguments += ["--mcp-config", str(run / "servers.json")]
            if SERVER in self.mcp_servers:
                arguments += ["--permission-prompt-tool", TOOL]
        appends = self.settings.system_prompt == "append"
        if self.system:
            files["system.txt"] = self.system.encode()
            option = "--append-system-prompt-file" if appends else "--system-prompt-file"
            arguments += [option, str(run / "system.txt")]
        elif not appends:
            arguments += ["--system-prompt", ""]
        if self.history and not place.has_begun:
            _write_transcript(place, self.history)
        arguments += ["--resume" if place.has_begun else "--session-id", place.session]
        headers, base_url = self.settings.headers, self.settings.base_url
        own = write_environ(self.fields, self.betas, headers, base_url, self.credential, str(place.config))
        return Command(
            argv=tuple(arguments),
            environ={**environ, **HELD_SWITCHES, **own, **self.options.environ()},
            stdin=_say(self.turns),
            files=files,
            working=place.work,
        )


def read_held_order(
    program: Sequence[str],
    model: str,
    body: bytes,
    *,
    settings: ProviderSettings,
    betas: str,
    credential: Credential | None,
    mcp_servers: dict[str, Any],
) -> HeldOrder:
    """Parses a request in Anthropic Messages. Without a `credential` the program uses its own login. Raises
    InvalidRequest."""
    fields = read_fields(model, body)
    options = take_options(fields, settings)
    system = read_system(fields.get("system"))
    try:
        turns = _turns_decoder.decode(fields.get("messages", msgspec.Raw(b"[]")))
    except msgspec.MsgspecError as error:
        raise InvalidRequest("messages must be a list of turns with role and content", param="messages") from error
    last = max((number for number, turn in enumerate(turns) if turn.role != "user"), default=-1) + 1
    if last == len(turns):
        raise InvalidRequest("the last message must have role user", param="messages")
    return HeldOrder(
        program=tuple(program),
        model=model,
        fields={name: value for name, value in fields.items() if name not in ITS_OWN},
        system=system,
        history=_without_marks(turns[:last]),
        turns=_without_marks(turns[last:]),
        settings=settings,
        betas=betas,
        credential=credential,
        mcp_servers=mcp_servers,
        options=options,
    )


def read_servers(path: str | None) -> dict[str, Any]:
    """The MCP servers in a file of the program's own format, `{"mcpServers": {NAME: …}}`. Raises ProgramUnavailable."""
    if path is None:
        return {}
    try:
        found = msgspec.json.decode(Path(path).expanduser().read_bytes(), type=_Servers)
    except (OSError, msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise ProgramUnavailable(f"cannot read the mcp_config file {path}: {error}") from error
    return dict(found.mcpServers)


def _say(turns: Sequence[_Turn]) -> bytes:
    """A user's turns merged into one input line, because the program answers each line separately."""
    blocks = [block for turn in turns for block in _blocks(turn)]
    return write_line(turns[0] if len(turns) == 1 else _Turn("user", blocks))


def _blocks(turn: _Turn) -> list[dict[str, Any]]:
    return [{"type": "text", "text": turn.content}] if isinstance(turn.content, str) else turn.content


def _without_marks(turns: Sequence[_Turn]) -> list[_Turn]:
    """The turns without cache marks: the program sets its own, and at most four are allowed."""
    for turn in turns:
        if not isinstance(turn.content, str):
            for block in turn.content:
                block.pop("cache_control", None)
    return list(turns)


def _write_transcript(place: Place, turns: Sequence[_Turn]) -> None:
    """Writes the turns as the program would have written them itself."""
    now = datetime.datetime.now(datetime.UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    lines, parent = [], None
    for turn in turns:
        own = str(uuid.uuid4())
        row = {
            "parentUuid": parent,
            "isSidechain": False,
            "userType": "external",
            "cwd": str(place.work),
            "sessionId": place.session,
            "version": "2.1.332",
            "type": turn.role,
            "message": turn,
            "uuid": own,
            "timestamp": now,
        }
        lines.append(msgspec.json.encode(row))
        parent = own
    place.transcript.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    place.transcript.write_bytes(b"\n".join(lines) + b"\n")
