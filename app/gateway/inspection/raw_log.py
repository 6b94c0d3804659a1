"""The raw HTTP log: what client, gateway and provider sent one another, as files for debugging.

Off by default, because it contains conversations. Each request has four files, each with head and body:
`<id>_client_request.http`, `<id>_provider_request.http`, `<id>_provider_response.http` and
`<id>_client_response.http`; those of further attempts have the attempt's number after the id. Credentials are masked,
bodies are cut, and the oldest files are removed when the folder is full.
"""

from __future__ import annotations

import contextlib
import logging
import os
from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from app.known_secrets import known_secrets
from app.logs import hide_secrets
from app.settings import RawLogSettings, data_folder
from app.settings.masking import sounds_secret

log = logging.getLogger("dragoman")

REDACTED = "[REDACTED]"
TRUNCATED = b"\n[TRUNCATED]"
# The name of each message in file names and in `[raw_log] parts`.
NAMES = {
    "client request": "client_request",
    "upstream request": "provider_request",
    "upstream reply": "provider_response",
    "client reply": "client_response",
}
# Maximum bytes held for all requests until written; further requests are not logged, and counted.
MAX_HELD = 64 << 20
# Files written between two checks of the folder's size.
PRUNE_WRITES = 100


class RawLog:
    """The log of one worker. `lost` counts requests that were not logged, or not completely."""

    def __init__(self, settings: RawLogSettings) -> None:
        self._settings = settings
        self._folder = Path(settings.folder) if settings.folder else data_folder() / "raw"
        self._waiting: deque[RawFiles] = deque()
        self._writes = PRUNE_WRITES
        self.most_body = settings.max_body_kb << 10
        self.held = 0
        self.lost = 0

    def open(self, request_id: str, path: str) -> RawFiles | None:
        """The files of a request, or None if it is not to be logged."""
        settings = self._settings
        if path.startswith(settings.exclude) or (settings.include and not path.startswith(settings.include)):
            return None
        if self.held >= MAX_HELD:
            self.lost += 1
            return None
        return RawFiles(self, request_id, settings.parts)

    def take(self, files: RawFiles) -> None:
        """Takes the files of a finished request."""
        self._waiting.append(files)

    def flush(self) -> None:
        """Writes the files of finished requests; called by one loop."""
        while self._waiting:
            files = self._waiting.popleft()
            try:
                _make_private(self._folder)
                for name, text in files.finish():
                    _write(self._folder / name, text)
                    self._writes += 1
            except OSError as error:
                if not self.lost:
                    log.warning("cannot write the raw HTTP log: %s", error)
                self.lost += 1
            self.held -= files.size
        if self._writes >= PRUNE_WRITES:
            self._writes = 0
            with contextlib.suppress(OSError):
                _prune(self._folder, self._settings.max_mb << 20)


class RawFiles:
    """The messages of one request, held in memory until it has finished."""

    def __init__(self, owner: RawLog, request_id: str, parts: Sequence[str]) -> None:
        self._owner = owner
        self._id = request_id
        self._parts = parts
        self._texts: dict[str, bytearray] = {}
        self._limits: dict[str, int] = {}
        self.size = 0

    def close(self) -> None:
        self._owner.take(self)

    def finish(self) -> Iterator[tuple[str, bytes]]:
        """Names and contents of the files, with known secrets and anything that looks like one masked."""
        for name, text in self._texts.items():
            cut = self._limits[name] < 0
            masked = hide_secrets(bytes(text).decode("utf-8", "replace")).encode()
            kind, number = NAMES[name.rstrip("0123456789 ")], "".join(filter(str.isdigit, name))
            yield f"{self._id}_{f'{number}_' if number else ''}{kind}.http", masked + (TRUNCATED if cut else b"")

    def begin(self, name: str, first: str, headers: Mapping[str, str]) -> None:
        kind = NAMES[name.rstrip("0123456789 ")]
        if kind not in self._parts or name in self._texts:
            return
        self._limits[name] = self._owner.most_body
        first = f"HTTP/1.1 {first}" if kind.endswith("response") else f"{first} HTTP/1.1"
        lines = [first, *(f"{header}: {_mask(header, text)}" for header, text in headers.items()), "", ""]
        self._texts[name] = text = bytearray("\r\n".join(lines).encode("utf-8", "replace"))
        self._hold(len(text))

    def add(self, name: str, part: bytes) -> None:
        text = self._texts.get(name)
        if text is None or (left := self._limits[name]) < 0:
            return
        text += part[:left]
        self._limits[name] = left - len(part) if len(part) <= left else -1
        self._hold(min(left, len(part)))

    def _hold(self, size: int) -> None:
        self.size += size
        self._owner.held += size


def _mask(header: str, text: str) -> str:
    if sounds_secret(header):
        return REDACTED
    return known_secrets.mask(text).replace("\r", " ").replace("\n", " ")


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


def _write(path: Path, text: bytes) -> None:
    """Writes a file that only this user can read; a symbolic link at the path is not followed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(path, flags, 0o600), "wb") as file:
        file.write(text)


def _prune(folder: Path, maximum: int) -> None:
    """Removes the oldest files beyond `maximum` bytes."""
    files = sorted(((path.stat().st_mtime, path.stat().st_size, path) for path in folder.glob("*.http")), reverse=True)
    size = 0
    for _, each, path in files:
        size += each
        if size > maximum:
            path.unlink(missing_ok=True)
