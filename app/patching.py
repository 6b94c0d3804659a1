"""Prepares a server's process. Must run before any other of our modules is loaded."""

import importlib
import sys
import warnings

from gevent import config, events, hub, monkey


def prepare_process() -> None:
    """Patches the standard library with gevent. Modules that are already loaded stay as they are."""
    # gevent would read all installed packages' entry points twenty-five times, for plugins that nobody has: a fifth of
    # the start-up time.
    events.notify_and_call_entry_points = events.notify
    # Nobody asks who spawned a greenlet: half a kilobyte for each connection.
    config.track_greenlet_tree = False
    monkey.patch_all()
    # Ctrl-C ends a server by an exception, which the hub would print if it came while nothing else runs.
    hub.Hub.NOT_ERROR += (KeyboardInterrupt,)
    # msgspec reads annotations by it where it is installed, as Python itself does since 3.11.
    _load_without("msgspec", "typing_extensions")


def load_requests() -> None:
    """Loads requests without its tables for guessing a text's encoding: they take three megabytes, and everything that
    we read names its encoding."""
    _load_without("requests", "chardet", "charset_normalizer")


def _load_without(library: str, *options: str) -> None:
    """Loads a library as if packages that it can do without were not installed. They can still be loaded later."""
    missing = [name for name in options if name not in sys.modules]
    sys.modules.update(dict.fromkeys(missing))  # type: ignore[arg-type]  # None: not to be found
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # requests warns that they are missing
            importlib.import_module(library)
    finally:
        for name in missing:
            sys.modules.pop(name, None)  # another thread may have loaded it at the same time
