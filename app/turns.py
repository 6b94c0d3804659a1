"""Lets other requests run during long work."""

from __future__ import annotations

import time

# Seconds. After sleep(0), gevent runs fifty such greenlets before it polls the sockets again. After a timer, however
# short, it polls.
_A_MOMENT = 1e-6


def give_way() -> None:
    """Lets all greenlets run that are ready, including those whose sockets are."""
    time.sleep(_A_MOMENT)
