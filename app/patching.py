"""Makes the standard library one of gevent's, before anything else of ours is loaded."""

from gevent import events, monkey


def patch_standard_library() -> None:
    """What is patched already stays as it is."""
    # gevent would read twenty-five times what all installed packages offer, for plugins of its own that nobody has:
    # a fifth of a start.
    events.notify_and_call_entry_points = events.notify
    monkey.patch_all()
