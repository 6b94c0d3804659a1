"""Hooks: installed code that sees requests and records.

A package declares its hook in the entry-point group `dragoman.hooks`. A hook is an object, or a class that is
instantiated without arguments, with one or both of

    on_request(client_request)   returns None to let the request pass, or another ClientRequest to send instead; raises
                                 a DragomanError, for example app.errors.Forbidden, to refuse it
    on_record(record)            gets the RequestRecord of each finished request
"""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Iterable
from importlib import metadata
from typing import Any

import gevent
import msgspec

from app.accounts.record import RequestRecord
from app.errors import ConfigError, DragomanError
from app.gateway.messages import ClientRequest
from app.logs import clean_line

log = logging.getLogger("dragoman")

ENTRY_POINTS = "dragoman.hooks"
# Maximum records waiting for hooks; further ones are lost to the hooks, and counted.
MAX_WAITING = 1000
# Seconds that a hook has for one request or record. Code that never yields cannot be interrupted.
LIMIT = 10.0


class HookFailed(DragomanError):
    """A hook that the operator declared `required` failed."""


class Hook(msgspec.Struct, frozen=True):
    """`required`: if the hook fails for a request, the request is refused."""

    name: str
    on_request: Callable[[ClientRequest], ClientRequest | None] | None = None
    on_record: Callable[[RequestRecord], object] | None = None
    required: bool = False


class Hooks:
    """The hooks of one process, and a sink of records. `failures` counts each hook's failures."""

    def __init__(self, hooks: Iterable[Hook] = ()) -> None:
        hooks = tuple(hooks)
        self.names = tuple(hook.name for hook in hooks)
        self.failures = dict.fromkeys(self.names, 0)
        self.lost = 0
        self._before = [hook for hook in hooks if hook.on_request is not None]
        self._after = [hook for hook in hooks if hook.on_record is not None]
        self.look_at_requests, self.look_at_records = bool(self._before), bool(self._after)
        self._waiting: deque[RequestRecord] = deque()

    def admit(self, client_request: ClientRequest) -> ClientRequest:
        """The request as the hooks changed it. Raises DragomanError if a hook refuses it or a required hook fails."""
        for hook in self._before:
            assert hook.on_request is not None
            try:
                with gevent.Timeout(LIMIT):
                    changed = hook.on_request(client_request)
                if changed is not None and not isinstance(changed, ClientRequest):
                    raise TypeError(f"on_request returned a {type(changed).__name__}, not a ClientRequest or None")
            except (DragomanError, gevent.GreenletExit):
                raise
            except BaseException as fault:
                self._note(hook, fault)
                if hook.required:
                    raise HookFailed(f"the hook {hook.name!r}, which is required, failed; see the log") from fault
            else:
                client_request = changed or client_request
        return client_request

    def take(self, records: Iterable[RequestRecord]) -> None:
        for record in records:
            if len(self._waiting) >= MAX_WAITING:
                self.lost += 1
            else:
                self._waiting.append(record)

    def hand_out(self) -> None:
        """Gives the waiting records to the hooks; called by one loop."""
        while self._waiting:
            record = self._waiting.popleft()
            for hook in self._after:
                assert hook.on_record is not None
                try:
                    with gevent.Timeout(LIMIT):
                        hook.on_record(record)
                except gevent.GreenletExit:
                    raise
                except BaseException as fault:  # a SystemExit would end the worker
                    self._note(hook, fault)

    def _note(self, hook: Hook, fault: BaseException) -> None:
        if not self.failures[hook.name]:
            log.error("the hook %s failed", hook.name, exc_info=fault)
        self.failures[hook.name] += 1


def load_hooks(off: Iterable[str] = (), required: Iterable[str] = ()) -> Hooks:
    """The hooks of installed packages, except those in `off`.

    Raises ConfigError if a required hook is missing or cannot be loaded; any other that cannot be loaded is skipped.
    """
    off, required = frozenset(off), frozenset(required)
    hooks = []
    for entry in sorted(metadata.entry_points(group=ENTRY_POINTS), key=lambda entry: entry.name):
        if entry.name in off:
            continue
        try:
            hooks.append(_make_hook(entry.name, entry.load(), required=entry.name in required))
        except (Exception, SystemExit) as fault:
            if entry.name in required:
                raise ConfigError(f"the hook {entry.name!r} cannot be loaded: {fault}", key="hooks.required") from fault
            reason = f"{type(fault).__name__}: {fault}"
            log.error("cannot load the hook %s, so it does not run: %s", entry.name, clean_line(reason))
            log.debug("where the hook %s fails", entry.name, exc_info=fault)
    missing = required - {hook.name for hook in hooks}
    if missing:
        raise ConfigError(f"no installed package has a hook {min(missing)!r}", key="hooks.required")
    return Hooks(hooks)


def _make_hook(name: str, loaded: Any, *, required: bool) -> Hook:
    made = loaded() if isinstance(loaded, type) else loaded
    before, after = getattr(made, "on_request", None), getattr(made, "on_record", None)
    if not callable(before) and not callable(after):
        raise TypeError("it has neither on_request nor on_record")
    return Hook(name, before if callable(before) else None, after if callable(after) else None, required)
