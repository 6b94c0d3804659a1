"""A Claude program by script: it says what a test wrote down for it, and notes what it was told.

    program = ClaudeProgram(folder, *answer("Hello"))
    ...                                  # run program.command, with further arguments
    assert program.runs()[0].extra["messages"] == …

A script is made of pieces: an object is a line, bytes are written as they are, a number is a pause in seconds; a
Complaint goes to standard error, a Child is a further process that stays, and Exit ends the program. Each run plays the
whole script.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

SESSION = "5a931be5-1e92-4bab-9df5-0de7ccaed92a"
SLEEPER = [sys.executable, "-S", "-c", "import time; time.sleep(600)"]


@dataclass(frozen=True)
class Complaint:
    text: str


@dataclass(frozen=True)
class Exit:
    code: int


@dataclass(frozen=True)
class Child:
    pass


Piece = dict[str, Any] | bytes | float | Complaint | Exit | Child


@dataclass(frozen=True)
class Run:
    """What one run was told and where it ran. `beside` is the files that it finds in its own folder."""

    pid: int
    child: int | None
    argv: list[str]
    environ: dict[str, str]
    folder: str
    beside: list[str]
    stdin: str
    settings: dict[str, Any]
    system: str

    @property
    def extra(self) -> Any:
        """The fields that are put over those of the program's request."""
        return json.loads(self.settings["env"]["CLAUDE_CODE_EXTRA_BODY"])

    def option(self, name: str) -> str:
        """The word after an argument."""
        return self.argv[self.argv.index(name) + 1]


class ClaudeProgram:
    def __init__(self, folder: Path, *script: Piece) -> None:
        self._folder = folder / "claude"
        self._folder.mkdir()
        self.play(*script)

    @property
    def command(self) -> list[str]:
        return [sys.executable, "-S", str(Path(__file__)), str(self._folder)]

    def play(self, *script: Piece) -> None:
        """Replaces the script."""
        (self._folder / "script").write_text(json.dumps([_spell(piece) for piece in script]))

    def runs(self) -> list[Run]:
        """The runs so far, the oldest first."""
        return [Run(**json.loads(path.read_text())) for path in sorted(self._folder.glob("*.run"))]

    def wait_for_run(self, seconds: float = 10.0) -> Run:
        """The first run, as soon as it has begun; fails the test after `seconds`."""
        deadline = time.monotonic() + seconds
        while not (runs := self.runs()):
            assert time.monotonic() < deadline, "the program was not started"
            time.sleep(0.02)
        return runs[0]


def is_gone(pid: int | None) -> bool:
    """Whether a process has ended and, unless nobody but the system can, was waited for."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except OSError:
        return pid is not None
    return state == "Z" and parent == "1"


def wait_until_gone(*pids: int | None, folder: str | None = None, seconds: float = 2.0) -> None:
    """Fails the test unless all have ended, and were waited for, within `seconds`, and `folder` was taken away."""
    deadline = time.monotonic() + seconds
    while (left := [pid for pid in pids if not is_gone(pid)]) or (folder is not None and Path(folder).exists()):
        assert time.monotonic() < deadline, f"processes {left} or the folder {folder} are still there"
        time.sleep(0.02)


def event(kind: str, **fields: Any) -> dict[str, Any]:
    """A line with an event of the API in it."""
    inner = {"type": kind, **fields}
    return {"event": inner, "session_id": SESSION, "parent_tool_use_id": None, "type": "stream_event"}


def began() -> list[Piece]:
    """What the program says before its answer, with the beginning of the answer."""
    usage = {"input_tokens": 11, "output_tokens": 1}
    message = {"id": "msg_1", "type": "message", "role": "assistant", "model": "claude-sonnet-4-6", "content": []}
    return [
        b"a library warns of something\n",
        {"subtype": "init", "tools": [], "cwd": "/", "session_id": SESSION, "type": "system"},
        {"type": "line_of_a_later_release", "session_id": SESSION},
        event("message_start", message={**message, "stop_reason": None, "stop_sequence": None, "usage": usage}),
    ]


def text_block(index: int, *pieces: str) -> list[Piece]:
    said = [event("content_block_delta", index=index, delta={"type": "text_delta", "text": piece}) for piece in pieces]
    whole = {"type": "text", "text": "".join(pieces)}
    return _block(index, {"type": "text", "text": ""}, said, whole)


def call_block(index: int, call_id: str, name: str, arguments: dict[str, Any]) -> list[Piece]:
    delta = {"type": "input_json_delta", "partial_json": json.dumps(arguments)}
    head = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
    said = [event("content_block_delta", index=index, delta=delta)]
    return _block(index, head, said, {**head, "input": arguments})


def thinking_block(index: int, text: str, signature: str) -> list[Piece]:
    said = [
        event("content_block_delta", index=index, delta={"type": "thinking_delta", "thinking": text}),
        event("content_block_delta", index=index, delta={"type": "signature_delta", "signature": signature}),
    ]
    head = {"type": "thinking", "thinking": "", "signature": ""}
    return _block(index, head, said, {**head, "thinking": text, "signature": signature})


def ended(stop: str = "end_turn") -> list[Piece]:
    """The end of an answer, and what the program says after it."""
    return [
        event("message_delta", delta={"stop_reason": stop, "stop_sequence": None}, usage={"output_tokens": 7}),
        event("message_stop"),
        {"type": "result", "subtype": "success", "is_error": False, "result": "…", "session_id": SESSION},
    ]


def answer(*pieces: str) -> list[Piece]:
    """The lines of a whole answer in text."""
    return [*began(), *text_block(0, *pieces), *ended()]


def failed(message: str, status: int | None = None, **more: Any) -> list[Piece]:
    """The lines of a request that the API refused: the program words it as if it were an answer."""
    said = {"role": "assistant", "model": "<synthetic>", "content": [{"type": "text", "text": message}]}
    result = {"type": "result", "subtype": "success", "is_error": True, "result": message, "api_error_status": status}
    return [{"type": "assistant", "message": said, "session_id": SESSION}, {**result, **more}, Exit(1)]


def _block(index: int, head: dict[str, Any], said: list[dict[str, Any]], whole: dict[str, Any]) -> list[Piece]:
    message = {"id": "msg_1", "role": "assistant", "model": "claude-sonnet-4-6", "content": [whole]}
    return [
        event("content_block_start", index=index, content_block=head),
        *said,
        {"type": "assistant", "message": message, "session_id": SESSION},
        event("content_block_stop", index=index),
    ]


def _spell(piece: Piece) -> list[Any]:
    match piece:
        case bytes():
            return ["write", piece.decode("latin-1")]
        case Complaint(text):
            return ["complain", text]
        case Exit(code):
            return ["exit", code]
        case Child():
            return ["child", None]
        case dict():
            return ["write", json.dumps(piece, ensure_ascii=False).encode().decode("latin-1") + "\n"]
        case _:
            return ["pause", piece]


def _main(folder: Path, argv: list[str]) -> None:
    script = json.loads((folder / "script").read_text())
    child = None
    if ["child", None] in script:
        # Without our output, whose end it would keep open.
        child = subprocess.Popen(SLEEPER, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL).pid
    _note(folder, argv, child)
    for kind, value in script:
        match kind:
            case "write":
                sys.stdout.buffer.write(value.encode("latin-1"))
                sys.stdout.buffer.flush()
            case "complain":
                sys.stderr.write(value)
                sys.stderr.flush()
            case "pause":
                time.sleep(value)
            case "exit":
                sys.exit(value)


def _note(folder: Path, argv: list[str], child: int | None) -> None:
    system = argv[argv.index("--system-prompt-file") + 1] if "--system-prompt-file" in argv else None
    seen = {
        "pid": os.getpid(),
        "child": child,
        "argv": argv,
        "environ": dict(os.environ),
        "folder": os.getcwd(),
        "beside": os.listdir(),
        "stdin": sys.stdin.read(),
        "settings": json.loads(Path(argv[argv.index("--settings") + 1]).read_text()),
        "system": Path(system).read_text() if system else "",
    }
    path = folder / f"{time.time_ns()}-{os.getpid()}"
    path.write_text(json.dumps(seen))
    path.rename(path.with_suffix(".run"))


if __name__ == "__main__":
    _main(Path(sys.argv[1]), sys.argv[2:])
