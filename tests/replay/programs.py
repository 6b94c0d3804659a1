"""The programs whose requests are recorded, and the turn that each is recorded with.

It reads a file by its own tool, and says what the file says.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from app.blueprints.operations.tested_clients import find_tested
from tests.clients.standins.scripted_model import Call
from tests.clients.workspace import MARKER

PROMPT = f"Run `cat {MARKER}` and tell me what it says."
READ = f"cat {MARKER}"
# What the genuine programs run by which need a newer Node than systems have.
NODE = "node@24"


class Program(NamedTuple):
    """`agent` is its name for `dragoman run`, `arguments` go to it, `call` is that of its own tool (None: it has none).
    `model` is the name that it is told; some form their requests by it."""

    name: str
    package: str
    version: str
    agent: str
    arguments: tuple[str, ...]
    call: Call | None = None
    environ: Mapping[str, str] = {}
    model: str | None = None
    registry: str = "npm"

    @property
    def folder(self) -> str:
        """That of its recordings: the same for each version, so that a new one shows as a difference."""
        return self.name.lower().replace(" ", "-")


def _tested(name: str, agent: str, arguments: tuple[str, ...], **more: Any) -> Program:
    client = find_tested(name)
    return Program(name, client.package, client.version, agent, arguments, registry=client.registry, **more)


PROGRAMS = {
    program.folder: program
    for program in (
        _tested(
            "Claude Code",
            "claude",
            ("-p", PROMPT, "--allowedTools", "Bash", "--no-session-persistence"),
            call=Call("Bash", {"command": READ}),
            environ={"CLAUDE_CODE_DISABLE_NONESSENTIAL_TRAFFIC": "1", "DISABLE_AUTOUPDATER": "1"},
        ),
        _tested(
            "Codex",
            "codex",
            ("exec", "--skip-git-repo-check", "--ephemeral", "--sandbox", "danger-full-access", PROMPT),
            call=Call("exec_command", {"cmd": READ}),
            model="gpt-5.5",
        ),
        _tested(
            "opencode",
            "opencode",
            ("run", PROMPT),
            call=Call("bash", {"command": READ, "description": "Read it"}),
            environ={"OPENCODE_DISABLE_MODELS_FETCH": "1"},
        ),
        _tested(
            "Qwen Code",
            "qwen",
            ("--approval-mode", "yolo", PROMPT),
            call=Call("run_shell_command", {"command": READ, "is_background": False}),
        ),
        _tested("Cline", "cline", (PROMPT,), call=Call("run_commands", {"commands": [READ]})),
        _tested(
            "goose",
            "goose",
            ("run", "--no-session", "--with-builtin", "developer", "-t", PROMPT),
            call=Call("shell", {"command": READ}),
        ),
        _tested("aider", "aider", ("--message", PROMPT, "--no-git", "--yes-always")),
    )
}
