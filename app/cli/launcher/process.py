"""Runs an agent as if it had been started directly: same terminal, signals and exit code."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from types import FrameType

import click

# Signals that are forwarded to the agent. A terminal's signals reach it anyway, because it is in our process group.
_FORWARDED = (signal.SIGTERM, signal.SIGHUP, signal.SIGUSR1, signal.SIGUSR2)
_FROM_TERMINAL = (signal.SIGINT, signal.SIGQUIT)


def run_agent(command: Sequence[str], environ: Mapping[str, str]) -> int:
    """The exit code of the agent; like shells, 128 plus the signal's number if a signal ended it."""
    try:
        process = subprocess.Popen(command, env=environ)
    except OSError as error:
        raise click.ClickException(f"{command[0]} cannot be run: {error.strerror}") from error
    with _forward_signals(process):
        code = process.wait()
    return code if code >= 0 else 128 - code


@contextlib.contextmanager
def _forward_signals(process: subprocess.Popen[bytes]) -> Iterator[None]:
    def pass_on(number: int, _frame: FrameType | None) -> None:
        if number in _FORWARDED or not _holds_terminal():
            process.send_signal(number)

    before = {number: signal.signal(number, pass_on) for number in (*_FORWARDED, *_FROM_TERMINAL)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _holds_terminal() -> bool:
    """Whether Ctrl-C at a terminal reaches us, and with us the agent."""
    try:
        return os.tcgetpgrp(0) == os.getpgrp()
    except OSError:
        return False
