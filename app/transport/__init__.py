"""Carries bytes to upstreams and back.

This package handles only HTTP, programs and time limits. It knows no dialects, providers or credentials. Nothing is
read ahead of the consumer, so a client that stops reading stops the upstream too. Everything uses the standard
library's sockets: gevent's in a patched worker, plain ones elsewhere.
"""

from app.transport.active import ActiveRequests, ClientGone
from app.transport.call import Call, Limits
from app.transport.exchange import Exchange, Obtaining, ReadExchange
from app.transport.transport import PreparedCall, Transport, TransportSettings
from app.transport.whole_reply import WholeReply

__all__ = [
    "ActiveRequests",
    "Call",
    "ClientGone",
    "Exchange",
    "Limits",
    "Obtaining",
    "PreparedCall",
    "ReadExchange",
    "Transport",
    "TransportSettings",
    "WholeReply",
]
