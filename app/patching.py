"""What must happen in a server's process before anything else of ours is loaded."""

import sys
import warnings

from gevent import events, monkey


def prepare_process() -> None:
    """The standard library becomes gevent's, and requests is loaded without the tables by which it would guess how a
    text is encoded. What is loaded already stays as it is."""
    # gevent would read twenty-five times what all installed packages offer, for plugins of its own that nobody has:
    # a fifth of a start.
    events.notify_and_call_entry_points = events.notify
    monkey.patch_all()
    _load_requests()


def _load_requests() -> None:
    """The tables are three megabytes, and everything that a server of ours reads says how it is encoded."""
    guessers = [name for name in ("chardet", "charset_normalizer") if name not in sys.modules]
    sys.modules.update(dict.fromkeys(guessers))  # type: ignore[arg-type]  # None: not to be found
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # requests says that it misses them
            import requests  # noqa: F401
    finally:
        for name in guessers:
            del sys.modules[name]
