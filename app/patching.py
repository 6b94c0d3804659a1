"""Prepares a server's process. Must run before any other of our modules is loaded."""

import sys
import warnings

from gevent import events, monkey


def prepare_process() -> None:
    """Patches the standard library with gevent. Modules that are already loaded stay as they are."""
    # gevent would read all installed packages' entry points twenty-five times, for plugins that nobody has: a fifth of
    # the start-up time.
    events.notify_and_call_entry_points = events.notify
    monkey.patch_all()


def load_requests() -> None:
    """Loads requests without its tables for guessing a text's encoding: they take three megabytes, and everything that
    we read names its encoding."""
    guessers = [name for name in ("chardet", "charset_normalizer") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(guessers))  # type: ignore[arg-type]  # None: not to be found
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # requests warns that they are missing
            import requests  # noqa: F401
    finally:
        for name in guessers:
            del sys.modules[name]
