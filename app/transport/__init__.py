"""Carries bytes to upstreams and back.

The room's rule: HTTP, programs and time limits only. Nothing here knows a dialect, a provider or a credential, and
nothing is read ahead of the consumer, so a client that stops reading stops the upstream too. Everything runs on the
standard library's sockets: gevent's under a patched worker, plain ones elsewhere.
"""

from app.transport.active import ActiveRequests, ClientGone
from app.transport.call import Call, Limits
from app.transport.exchange import Exchange, Obtaining
from app.transport.transport import PreparedCall, Transport, TransportSettings

__all__ = [
    "ActiveRequests",
    "Call",
    "ClientGone",
    "Exchange",
    "Limits",
    "Obtaining",
    "PreparedCall",
    "Transport",
    "TransportSettings",
]
