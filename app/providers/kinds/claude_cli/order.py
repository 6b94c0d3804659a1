"""Arguments, environment and files for one run of the Claude program.

The request's body reaches the model unchanged: a documented variable, CLAUDE_CODE_EXTRA_BODY, holds fields that replace
those of the program's own request. It is passed in a settings file, because an environment variable or an argument is
limited to 128 KiB. The program's tools, hooks, servers, skills and settings are switched off and it is limited to one
turn, so a call of a client's tool ends the answer. Nothing is resumed or stored: each request brings its whole history.

The program keeps its own login, its headers, and the lines that it puts before the client's system text to introduce
itself; Dragoman neither writes nor removes those.

Source: `claude --help`, code.claude.com "Environment variables", and runs of version 2.1.332 against a server of ours.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import msgspec

from app.credentials.credential import Credential
from app.errors import InvalidRequest, TooLarge
from app.transport.process import Command

ARGUMENTS = (
    "-p",
    "--input-format",
    "stream-json",
    "--output-format",
    "stream-json",
    "--verbose",  # required with this output format
    "--include-partial-messages",
    "--tools",
    "",
    "--strict-mcp-config",
    "--setting-sources=",
    "--disable-slash-commands",
    "--no-session-persistence",
    "--max-turns",
    "1",
    "--settings",
    "../settings.json",
)

# Switches off what the program adds to a request, and what it does besides. Retries are the gateway's job.
SWITCHES = {
    "CLAUDE_CODE_SAFE_MODE": "1",
    "CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1",
    "CLAUDE_CODE_DISABLE_EXPERIMENTAL_BETAS": "1",
    "CLAUDE_CODE_DISABLE_THINKING": "1",
    "CLAUDE_CODE_EFFORT_LEVEL": "unset",
    "CLAUDE_CODE_DISABLE_NONSTREAMING_FALLBACK": "1",
    "CLAUDE_CODE_MAX_RETRIES": "0",
}

# Environment variables that the program inherits. Any other may be a secret of the gateway; ANTHROPIC_BASE_URL may even
# be the gateway's own address.
INHERITED = frozenset(
    {"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TERM", "LANG", "LANGUAGE", "TZ",
     "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY", "NODE_EXTRA_CA_CERTS", "SSL_CERT_FILE", "SSL_CERT_DIR",
     "CLAUDE_CONFIG_DIR", "CLAUDE_CODE_OAUTH_TOKEN"}
)  # fmt: skip
INHERITED_PREFIXES = ("LC_", "XDG_")

# The program reads no larger settings file.
SETTINGS_LIMIT = 2 * 1024 * 1024

# The program needs a user turn as input, although the conversation comes with the settings. The model sees this text
# only if the program ignores the conversation there.
_TRIGGER = {
    "role": "user",
    "content": "Answer with this sentence alone: This version of Claude Code cannot be asked by Dragoman; update it.",
}


class _SystemBlock(msgspec.Struct):
    text: str = ""


_fields_decoder = msgspec.json.Decoder(dict[str, msgspec.Raw])
_system_decoder = msgspec.json.Decoder(str | list[_SystemBlock])
_messages_decoder = msgspec.json.Decoder(list[msgspec.Raw])


def inherit(environ: Mapping[str, str]) -> dict[str, str]:
    """The part of our environment that the program inherits."""
    return {
        name: value
        for name, value in environ.items()
        if name.upper() in INHERITED or name.startswith(INHERITED_PREFIXES)
    }


class Order(msgspec.Struct, frozen=True):
    """One request, as passed to the program: by arguments and files at its start, or on its input once it runs.

    `extra` are the fields that replace those of the program's own request, `line` is the turn that asks for an answer.
    """

    program: tuple[str, ...]
    environ: dict[str, str]
    model: str
    system: str
    extra: str
    line: bytes

    def __repr__(self) -> str:
        """Omits the conversation and the credential."""
        return f"Order({self.model})"

    @property
    def pool_key(self) -> object:
        """Equal for all requests that the same started program can answer."""
        return self.program, self.model, tuple(sorted(self.environ.items()))

    def command(self) -> Command:
        """The command that starts a program for this request."""
        arguments = [*self.program, *ARGUMENTS, *name_model(self.model)]
        files = {"settings.json": _write_settings(self.extra)}
        if self.system:
            files["system.txt"] = self.system.encode()
            arguments += ["--system-prompt-file", "../system.txt"]
        else:
            # Otherwise the program would describe itself at length.
            arguments += ["--system-prompt", ""]
        return Command(argv=tuple(arguments), environ=self.environ, stdin=self.line, files=files)

    def early_command(self) -> Command:
        """The command that starts a program for a later request with the same `pool_key`. It names the model: a program
        that is given another one later first asks the vendor, in a separate request, whether it may use it."""
        files = {"settings.json": _write_settings(None)}
        arguments = (*self.program, *ARGUMENTS, *name_model(self.model), "--system-prompt", "")
        return Command(argv=arguments, environ=self.environ, stdin=None, files=files)

    def input(self) -> bytes:
        """The input that passes this request to a program started early."""
        settings = {"env": {"CLAUDE_CODE_EXTRA_BODY": self.extra}}
        requests = (
            {"subtype": "initialize", "systemPrompt": [self.system] if self.system else []},
            {"subtype": "apply_flag_settings", "settings": settings},
        )
        lines = [
            {"type": "control_request", "request_id": request["subtype"], "request": request} for request in requests
        ]
        return b"".join(msgspec.json.encode(line) + b"\n" for line in lines) + self.line


def name_model(model: str) -> tuple[str, ...]:
    """The arguments for a model, which must not be taken for an option."""
    return (f"--model={model}",) if model.startswith("-") else ("--model", model)


def write_order(
    program: Sequence[str],
    environ: Mapping[str, str],
    model: str,
    body: bytes,
    *,
    betas: str = "",
    headers: Mapping[str, str] | None = None,
    base_url: str | None = None,
    credential: Credential | None = None,
) -> Order:
    """The order for one request, whose `body` is in Anthropic Messages.

    `program` is the program's path and first arguments, `environ` what it inherits, `headers` what it sends besides its
    own. Without a `credential` it uses its own login. Raises InvalidRequest for a body of another shape, TooLarge for
    one that cannot be passed to the program.
    """
    fields = read_fields(model, body)
    # The program sets the model itself and always streams.
    fields.pop("model", None)
    fields.pop("stream", None)
    system = read_system(fields.pop("system", None))
    turn: object = _TRIGGER
    extra = write_text(fields)
    if len(_write_settings(extra)) > SETTINGS_LIMIT:
        turn = _take_only_turn(fields)
        extra = write_text(fields)
        if len(_write_settings(extra)) > SETTINGS_LIMIT:
            raise TooLarge("the tools and settings of this request are larger than the Claude program accepts (2 MiB)")
    return Order(
        program=tuple(program),
        environ={**environ, **SWITCHES, **write_environ(fields, betas, headers or {}, base_url, credential)},
        model=model,
        system=system,
        extra=extra,
        line=write_line(turn),
    )


def read_fields(model: str, body: bytes) -> dict[str, msgspec.Raw]:
    """The fields of a request for `model`, undecoded. Raises InvalidRequest."""
    if not model.isprintable():
        raise InvalidRequest(
            "the model's name contains a control character; send the name as /v1/models lists it", param="model"
        )
    try:
        return _fields_decoder.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise InvalidRequest("the request is not a JSON object") from error


def read_system(value: msgspec.Raw | None) -> str:
    """The system text, with the blocks of a list as paragraphs. Raises InvalidRequest."""
    if value is None:
        return ""
    try:
        system = _system_decoder.decode(value)
    except msgspec.MsgspecError as error:
        raise InvalidRequest("system must be text or a list of text blocks", param="system") from error
    return system if isinstance(system, str) else "\n\n".join(block.text for block in system if block.text)


def write_text(fields: Mapping[str, msgspec.Raw]) -> str:
    return msgspec.json.encode(fields).decode()


def write_line(message: object) -> bytes:
    """A user's turn as the program reads it."""
    line = {"type": "user", "message": message, "parent_tool_use_id": None, "session_id": ""}
    return msgspec.json.encode(line) + b"\n"


def _write_settings(extra: str | None) -> bytes:
    return msgspec.json.encode(
        {"disableAllHooks": True, "env": {} if extra is None else {"CLAUDE_CODE_EXTRA_BODY": extra}}
    )


def _take_only_turn(fields: dict[str, msgspec.Raw]) -> msgspec.Raw:
    """Removes and returns the only message of a conversation too large for a settings file. A single user turn can be
    passed as the program's input instead; several turns cannot."""
    try:
        messages = _messages_decoder.decode(fields.get("messages", msgspec.Raw(b"[]")))
    except msgspec.MsgspecError as error:
        raise InvalidRequest("messages must be a list", param="messages") from error
    if len(messages) != 1:
        raise TooLarge("the conversation is larger than the Claude program accepts (2 MiB for more than one turn)")
    del fields["messages"]
    return messages[0]


def write_environ(
    fields: Mapping[str, msgspec.Raw],
    betas: str,
    headers: Mapping[str, str],
    base_url: str | None,
    credential: Credential | None,
    config: str = "../config",
) -> dict[str, str]:
    """The variables that the program needs to reach its vendor as the request requires. `config` is the folder used
    instead of the one with the program's own login."""
    environ = {}
    if any(b'"cache_control"' in bytes(value) for value in fields.values()):
        # The program would use two of the four breakpoints for the system text, which the client's own cover anyway.
        environ["DISABLE_PROMPT_CACHING"] = "1"
    if betas:
        environ["ANTHROPIC_BETAS"] = betas
    if headers:
        environ["ANTHROPIC_CUSTOM_HEADERS"] = "\n".join(f"{name}: {value}" for name, value in headers.items())
    if base_url:
        environ["ANTHROPIC_BASE_URL"] = base_url
    if credential is not None:
        name = "ANTHROPIC_API_KEY" if credential.api_key is not None else "CLAUDE_CODE_OAUTH_TOKEN"
        # The operator's own login, and the files that belong to it, are not used.
        environ |= {name: credential.secret, "CLAUDE_CONFIG_DIR": config}
    return environ
