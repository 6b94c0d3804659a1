"""Lets the Claude CLI renew the login that it stores, if that is enabled.

Usually the gateway renews logins itself (renewal.py). This is for hosts on which only the CLI may write its file.
`claude auth status` renews an expired login; `claude --version` does not even read it.
"""

from __future__ import annotations

import logging
import os
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

log = logging.getLogger("dragoman.credentials")

# Seconds between two calls of the program, between two checks whether one is due, and for one call at most.
PERIOD = 23 * 3600.0
LOOK = 600.0
LIMIT = 30.0

# Removed from the program's environment, or it might call the gateway, which calls it.
_OWN_VARIABLES = ("ANTHROPIC_BASE_URL", "ANTHROPIC_API_KEY", "ANTHROPIC_AUTH_TOKEN")


class CliRefresh:
    """Runs the program at the start and every 23 hours, once for all workers. Called by the watcher.

    The age of the file `stamp` says when it last ran. Raises nothing: if the program fails, the login stays as it is.
    """

    def __init__(
        self,
        command: Sequence[str],
        stamp: Path,
        environ: Mapping[str, str],
        clock: Callable[[], float] = time.time,
        monotonic: Callable[[], float] = time.monotonic,
    ) -> None:
        self._command = [*command, "auth", "status"]
        self._stamp = stamp
        self._environ = {name: value for name, value in environ.items() if name not in _OWN_VARIABLES}
        self._clock = clock
        self._monotonic = monotonic
        self._next_look = 0.0

    def __call__(self) -> None:
        if self._monotonic() < self._next_look:
            return
        self._next_look = self._monotonic() + LOOK
        now = self._clock()
        # Imported with the first check, since most gateways have no login.
        from filelock import FileLock, Timeout

        try:
            with FileLock(f"{self._stamp}.lock", timeout=0):
                if self._is_due(now):
                    self._stamp.touch(mode=0o600)
                    os.utime(self._stamp, (now, now))
                    self._run()
        except (Timeout, OSError) as error:
            log.debug("another worker is renewing the login, or the lock file is not writable: %s", error)

    def _is_due(self, now: float) -> bool:
        try:
            # A stamp from the future was written before the clock was set back.
            return not 0 <= now - self._stamp.stat().st_mtime < PERIOD
        except FileNotFoundError:
            return True

    def _run(self) -> None:
        try:
            done = subprocess.run(
                self._command,
                env=self._environ,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=LIMIT,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            log.warning("[token-refresh] %s did not run: %s", self._command[0], type(error).__name__)
            return
        if done.returncode:
            log.warning("[token-refresh] %s auth status ended with %s", self._command[0], done.returncode)
        else:
            log.info("[token-refresh] %s auth status ran", self._command[0])
