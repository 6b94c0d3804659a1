"""The common part of both OpenTelemetry exports: which exporters are configured, and the queue before them."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, Generic, Literal, TypeVar

if TYPE_CHECKING:
    from opentelemetry.sdk.resources import Resource

log = logging.getLogger("dragoman")

MAX_WAITING = 2000
# Milliseconds to export what is left at the end.
FLUSH_LIMIT = 3000

T = TypeVar("T")


class Export(Generic[T]):
    """A queue of items for the SDK, which exports them in the background. `lost` counts items that found it full."""

    def __init__(self, provider: Any, tell: Callable[[T], None]) -> None:
        self._provider = provider
        self._tell = tell
        self._waiting: deque[T] = deque()
        self.lost = 0

    def add(self, entry: T) -> None:
        if len(self._waiting) >= MAX_WAITING:
            self.lost += 1
        else:
            self._waiting.append(entry)

    def hand_out(self) -> None:
        while self._waiting:
            self._tell(self._waiting.popleft())

    def close(self) -> None:
        """Exports what is left."""
        self.hand_out()
        self._provider.force_flush(FLUSH_LIMIT)
        self._provider.shutdown()


def open_export(
    signal: Literal["traces", "logs"], environ: Mapping[str, str], build: Callable[[list[str]], T]
) -> T | None:
    """Calls `build` with the configured exporters. None if there are none, or the extra `otel` is not installed."""
    exporters = find_exporters(signal, environ)
    if not exporters:
        return None
    try:
        return build(exporters)
    except ImportError as error:
        log.warning("%s are not exported: %s; install dragoman[otel]", signal, error)
    except Exception as fault:
        log.error("%s are not exported", signal, exc_info=fault)
    return None


def find_exporters(signal: str, environ: Mapping[str, str]) -> list[str]:
    """The exporters named by the variables, "otlp" or "console"; "otlp" if they only name an endpoint."""
    variable = f"OTEL_{signal.upper()}_EXPORTER"
    named = [each.strip() for each in environ.get(variable, "").split(",") if each.strip()]
    if "none" in named or environ.get("OTEL_SDK_DISABLED", "").lower() == "true":
        return []
    endpoints = ("OTEL_EXPORTER_OTLP_ENDPOINT", f"OTEL_EXPORTER_OTLP_{signal.upper()}_ENDPOINT")
    for each in named:
        if each not in ("otlp", "console"):
            log.warning("%s: %r is not one of otlp, console, none", variable, each[:40])
    return named or (["otlp"] if any(environ.get(name) for name in endpoints) else [])


def make_resource(environ: Mapping[str, str]) -> Resource:
    from opentelemetry.sdk.resources import Resource

    return Resource.create({} if environ.get("OTEL_SERVICE_NAME") else {"service.name": "dragoman"})
