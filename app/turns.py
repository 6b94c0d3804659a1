"""Gives way to other requests during long work."""

from __future__ import annotations

import time

# gevent runs fifty greenlets that slept for nothing before it looks at a socket again. After a timer, however short, it
# looks; seconds.
_A_MOMENT = 1e-6


def give_way() -> None:
    """Whoever waits for a socket, or for anything else that is there, has its turn."""
    time.sleep(_A_MOMENT)
