"""Makes the pages of docs/ that say what the code says: commands, endpoints, errors, and openapi.json.

`make reference` writes them; a test compares them with what this would write now.
"""

from __future__ import annotations

import json
import re
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import click

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
sys.path.insert(0, str(Path(__file__).parent))

from endpoints import ENDPOINTS, Described  # noqa: E402

# Pages for people, which browsers ask.
PEOPLE = re.compile(r"/_/(?!api/)|/(?:login|logout|callback|auth/|dashboard$)")
MADE = "<!-- Made by `make reference`; change what it is made of. -->"


def main() -> None:
    for name, text in make_pages().items():
        (DOCS / name).write_text(text)


def make_pages() -> dict[str, str]:
    """The files below docs/, by their names there."""
    described = describe_api()
    return {
        "openapi.json": json.dumps(described, indent=2, ensure_ascii=False) + "\n",
        "reference/commands.md": write_commands(),
        "reference/endpoints.md": write_endpoints(),
        "reference/errors.md": write_errors(),
    }


# Commands


def write_commands() -> str:
    from app.cli.group import main as program

    parts = [
        MADE,
        "# Commands",
        "`dragoman COMMAND --help` says the same. Settings come from a file, from variables and from options "
        "([configuration](../configuration.md#where-settings-come-from)). Put keys and tokens into one of the first "
        "two: every user of the machine can read a command line.",
    ]
    for name in program.list_commands(click.Context(program)):
        parts += _describe_command(program, name, "dragoman")
    return "\n\n".join(parts) + "\n"


def _describe_command(group: click.Group, name: str, above: str) -> list[str]:
    # A command keeps the options for help that its first context has, in this process too.
    context = click.Context(group, info_name=above, help_option_names=["-h", "--help"])
    command = group.get_command(context, name)
    assert command is not None
    if command.hidden:
        return []
    whole = f"{above} {name}"
    inner = click.Context(command, info_name=name, parent=context)
    usage = " ".join(command.collect_usage_pieces(inner))
    level = "##" if above == "dragoman" else "###"
    parts = [f"{level} `{whole}`", _tidy(command.help or ""), f"```text\n{whole} {usage}\n```"]
    rows = [_describe_option(option, inner) for option in command.get_params(inner)]
    rows = [row for row in rows if row]
    if rows:
        parts.append("\n".join(["| Option | Meaning |", "|---|---|", *rows]))
    if isinstance(command, click.Group):
        for each in command.list_commands(inner):
            parts += _describe_command(command, each, whole)
    return parts


def _describe_option(option: click.Parameter, context: click.Context) -> str:
    record = option.get_help_record(context)
    if record is None or record[0].endswith("--help"):
        return ""
    names, meaning = (part.replace("|", "\\|").replace("\n", " ") for part in record)
    return f"| `{names}` | {meaning.replace('<', '&lt;')} |"


def _tidy(text: str) -> str:
    """Help as it stands in the source: paragraphs, of which \b keeps the lines."""
    paragraphs = [part.strip() for part in re.split(r"\n\s*\n", text.replace("\f", "\n\n"))]
    shown = [
        "```text\n" + part.lstrip("\b").strip("\n") + "\n```" if part.startswith("\b") else " ".join(part.split())
        for part in paragraphs
        if part
    ]
    return "\n\n".join(shown)


# Endpoints


def list_described() -> dict[tuple[str, str], Described]:
    """What endpoints.py says, and after it what only the code knows so far, by its function's first line."""
    routes = list_routes()
    fresh = {place: Described("Others", routes[place]) for place in sorted(set(routes) - set(ENDPOINTS))}
    return {place: it for place, it in ENDPOINTS.items() if place in routes} | fresh


def list_routes() -> dict[tuple[str, str], str]:
    """Method and path of what the code answers, as OpenAPI spells paths, and the first line of its function; each
    once, with /v1 where it has both."""
    from app import create_app
    from app.settings import load_settings

    app = create_app(load_settings(None, {"HOME": "/nonexistent", "DRAGOMAN__ACCOUNTS__ENABLED": "false"}, {}))
    routes = {
        (method, re.sub(r"<(?:\w+:)?(\w+)>", r"{\1}", rule.rule)): app.view_functions[rule.endpoint]
        for rule in app.url_map.iter_rules()
        for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}
    }
    return {
        (method, path): (view.__doc__ or view.__name__.replace("_", " ")).strip().splitlines()[0]
        for (method, path), view in routes.items()
        if (method, f"/v1{path}") not in routes and not PEOPLE.match(path)
    }


def describe_api() -> dict[str, Any]:
    from importlib import metadata

    paths: dict[str, Any] = {}
    for (method, path), it in list_described().items():
        paths.setdefault(path, {})[method.lower()] = _describe_operation(method, path, it)
    open_to_all = ("/health", "/health/live", "/health/ready", "/ping", "/", "/api/hello")
    for path in open_to_all:
        paths[path]["get"]["security"] = []
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "Dragoman",
            "version": metadata.version("dragoman"),
            "license": {"name": "MIT", "identifier": "MIT"},
            "description": "A gateway between LLM clients and providers. Bodies are those of the vendors' own APIs. "
            "Paths answer without /v1 as well, and below mounts (docs/mounts.md).",
        },
        "servers": [{"url": "http://127.0.0.1:8080"}],
        "security": [{"bearer": []}, {"x-api-key": []}, {}],
        "paths": paths,
        "components": {
            "securitySchemes": {
                "bearer": {"type": "http", "scheme": "bearer"},
                "x-api-key": {"type": "apiKey", "in": "header", "name": "x-api-key"},
            },
            "schemas": {
                "OpenAIError": _object({"error": _object({"message": "string", "type": "string"})}),
                "JsonRpcError": _object({"error": _object({"message": "string", "code": "integer"})}),
                "AnthropicError": _object(
                    {"type": "string", "error": _object({"type": "string", "message": "string"})}
                ),
            },
        },
    }


def _describe_operation(method: str, path: str, it: Described) -> dict[str, Any]:
    said: dict[str, Any] = {"tags": [it.group], "summary": it.summary}
    names = re.findall(r"\{(\w+)\}", path)
    if names:
        said["parameters"] = [
            {"name": name, "in": "path", "required": True, "schema": {"type": "string"}} for name in names
        ]
    if method == "POST" and it.example is not None:
        needed = {name: _type_of(value) for name, value in it.example.items()}
        said["requestBody"] = {
            "required": True,
            "content": {"application/json": {"schema": _object(needed), "example": it.example}},
        }
    schema = _object(it.answer or {})
    whole: dict[str, Any] = {"text/plain": {}} if path == "/metrics" else {"application/json": {"schema": schema}}
    if it.streams:
        whole["text/event-stream"] = {"schema": {"type": "string"}}
    error = "AnthropicError" if "/messages" in path else "JsonRpcError" if path == "/mcp" else "OpenAIError"
    refused = {"application/json": {"schema": {"$ref": f"#/components/schemas/{error}"}}}
    said["responses"] = {
        "200": {"description": "What was asked for.", "content": whole},
        "default": {"description": "An error in the client's dialect: docs/reference/errors.md.", "content": refused},
    }
    return said


def _object(fields: dict[str, Any]) -> dict[str, Any]:
    properties = {name: {"type": each} if isinstance(each, str) else each for name, each in fields.items()}
    return {"type": "object", "required": list(fields), "properties": properties} if fields else {"type": "object"}


def _type_of(value: object) -> dict[str, Any]:
    names = {str: "string", int: "integer", list: "array", dict: "object", bool: "boolean"}
    # An input is a text or a list, as the vendors have it.
    return {} if isinstance(value, str) and value == "Hello" else {"type": names[type(value)]}


def write_endpoints() -> str:
    parts = [
        MADE,
        "# Endpoints",
        "Bodies are those of the vendors' own APIs. Each path also works without `/v1`, and below a mount that names "
        "the provider or a session: [paths and sessions](../mounts.md). For programs: [openapi.json](../openapi.json).",
    ]
    described = list_described()
    for group in dict.fromkeys(it.group for it in described.values()):
        rows = [
            f"| `{method}` | `{path}` | {it.summary} |" for (method, path), it in described.items() if it.group == group
        ]
        parts += [f"## {group}", "\n".join(["| | Path | |", "|---|---|---|", *rows])]
    parts += [
        "Pages for people: the [dashboard](../dashboard.md) below `/_/`, and [`/login`, `/logout` and "
        "`/callback`](../logins.md#in-the-browser).",
    ]
    return "\n\n".join(parts) + "\n"


# Errors


def write_errors() -> str:
    from app.errors import STATUS

    dialects = ("anthropic_messages", "openai_chat", "openai_responses")
    rows = [
        f"| {kind.replace('_', ' ')} | {' | '.join(_show_error(dialect, kind) for dialect in dialects)} |"
        for kind in STATUS
    ]
    text = """
An error reaches a client in its own dialect: as a status and a body, or, once a stream has begun, as the stream's own
error event. The message says what to do. With `request_id` you find the request in the log and with `dragoman show ID`.
If trying again will not help, the answer carries `x-should-retry: false`; if it may, it carries `retry-after`, provided
the upstream said when.

An upstream's own status is kept if it sent one. Otherwise status, type and code say what went wrong:
"""
    table = "\n".join(["| What | Anthropic Messages | Chat Completions | Responses |", "|---|---|---|---|", *rows])
    return f"{MADE}\n\n# Errors\n{text}\n{table}\n"


def _show_error(dialect: str, kind: Any) -> str:
    """What a client of the dialect gets for a failure of this kind."""
    from app.errors import Failure

    module = import_module(f"app.dialects.{dialect}.errors")
    failure = Failure(kind=kind, message="")
    error = json.loads(module.render_error(failure, ""))["error"]
    words = dict.fromkeys(f"`{word}`" for word in (error["type"], error.get("code")) if word)
    return f"{module.error_status(failure)} {', '.join(words)}"


if __name__ == "__main__":
    main()
