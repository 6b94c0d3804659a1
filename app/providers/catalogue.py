"""An upstream's own list of models, kept for a few minutes."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence

import msgspec

from app.errors import DragomanError

# Seconds that a list stays valid, and seconds before a failed request for it is repeated.
LIFETIME = 300.0
RETRY = 20.0


class Model(msgspec.Struct, frozen=True):
    """A model that a provider offers. Limits are in tokens, None if unknown."""

    id: str
    owned_by: str = ""
    display_name: str | None = None
    created: int = 0
    context_window: int | None = None
    max_output: int | None = None


class Catalogue:
    """The models by id, as last fetched. `fetch` asks the upstream for them; `note` is called after each time, with the
    error if it failed."""

    def __init__(self, fetch: Callable[[], Sequence[Model]], note: Callable[[DragomanError | None], None]) -> None:
        self.models: Mapping[str, Model] = {}
        # How often it was fetched or failed to be.
        self.version = 0
        self._fetch = fetch
        self._note = note
        self._until = 0.0
        self._reading: threading.Thread | None = None

    @property
    def is_fresh(self) -> bool:
        """Whether `read` answers without asking the upstream."""
        return time.monotonic() < self._until

    @property
    def is_being_read(self) -> bool:
        """Whether somebody waits for the upstream's answer now."""
        return self._reading is not None and self._reading.is_alive()

    def read(self) -> Mapping[str, Model]:
        """The current list; while it cannot be fetched, the last one that could."""
        if not self.is_fresh:
            self._until = time.monotonic() + RETRY
            try:
                self.models = {model.id: model for model in self._fetch()}
                self._until = time.monotonic() + LIFETIME
                self._note(None)
            except DragomanError as error:
                self._note(error)
            self.version += 1
        return self.models

    def refresh(self) -> None:
        """Asks the upstream now. If that fails, the last list stays."""
        self._until = 0.0
        self.read()

    def begin_reading(self) -> None:
        """Reads it in a thread, for which `wait` waits."""
        self._reading = threading.Thread(target=self.read, daemon=True)
        self._reading.start()

    def wait(self, seconds: float) -> None:
        if self._reading is not None:
            self._reading.join(seconds)
