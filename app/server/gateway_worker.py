"""A gunicorn worker with its own, cheaper HTTP handling.

It is gunicorn's gevent worker in all but one thing: what happens on a connection. Ordinary HTTP/1.1 requests are read
and answered by ClientConnection; from its first request that is out of the ordinary on, a connection is gunicorn's.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import time
from functools import partial
from ipaddress import ip_address, ip_network
from typing import Any

import gevent
from gevent.event import Event
from gevent.pool import Pool
from gunicorn.http.errors import ParseException
from gunicorn.http.wsgi import base_environ
from gunicorn.sock import ssl_context
from gunicorn.util import http_date
from gunicorn.workers import base
from gunicorn.workers.ggevent import GeventWorker

from app.server.connections.client_connection import ClientConnection
from app.server.connections.refusals import explain, refuse
from app.server.connections.request_parser import Site
from app.server.connections.reread import Reread
from app.server.connections.slots import Listener, Slots
from app.server.gunicorn_settings import MAX_HEAD
from app.server.heartbeat import Heartbeat, Shown
from app.server.master import ENDING

# gunicorn's own makes a file in a temporary folder, and offers no other way to replace it.
base.WorkerTmp = Heartbeat

# Where one of these gunicorn settings is not at its default, all connections are gunicorn's: they ask for TLS, for
# other protocols, or for something that is done with each request.
_GUNICORN_ONLY = (
    "accesslog",
    "certfile",
    "http2_cleartext",
    "keyfile",
    "limit_request_fields",
    "limit_request_line",
    "post_request",
    "pre_request",
    "protocol",
    "proxy_protocol",
    "statsd_host",
)


class GatewayWorker(GeventWorker):  # type: ignore[misc]  # gunicorn is untyped
    """What connections need of it: `idle`, which of them wait for a request and since when, the longest first; `clock`,
    in seconds since the start; `date`, the value of the Date header. It looks after all three once a second."""

    alive: bool
    nr: int

    def __init__(self, *args: Any, **options: Any) -> None:
        """In the master, before the fork."""
        super().__init__(*args, **options)
        self.shown = Shown()
        self.serves = Shown()
        self.cut = False
        self._stopping = Event()

    def init_signals(self) -> None:
        super().init_signals()
        # A terminal sends Ctrl-C to all of its processes; what it means is for the master to say.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # Those that came while it was begun, and that its master kept for it.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """TERM: the running requests may finish."""
        self.shown.count = len(self._active()) if self.booted else 0
        # Until it has booted there is no application.
        if self.booted and (runtime := getattr(self.wsgi, "runtime", None)) is not None:
            runtime.draining = True
        super().handle_exit(sig, frame)
        if self.booted:
            self._stopping.set()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """QUIT: what runs is cut, and gets its line in the log."""
        self.alive = False
        gevent.spawn(self._quit)

    def _quit(self) -> None:
        # Whatever goes wrong on the way out, this process ends.
        try:
            self._stop_active()
            gevent.sleep(0.1)
            self.cut = True
            self.cfg.worker_exit(None, self)
        finally:
            os._exit(0)

    def _stop_active(self) -> None:
        running = self._active()
        if running:
            running.stop_all()

    def _active(self) -> Any:
        """The running requests, of an application that tells them."""
        runtime = getattr(getattr(self, "wsgi", None), "runtime", None)
        return () if runtime is None else runtime.active

    def run(self) -> None:
        """Serves until the worker shall stop, and then until its last request is over, or graceful_timeout."""
        self._prepare()
        pool = Pool(self.worker_connections)
        listeners = [self._listen(each, pool) for each in self.sockets]
        for listener in listeners:
            listener.start()
        self.serves.count = 1
        while self.alive:
            self.notify()
            self._stopping.wait(1.0)
        for listener in listeners:
            listener.close()
        # On a clock that nobody sets.
        end = time.monotonic() + self.cfg.graceful_timeout
        while len(pool) and time.monotonic() < end:
            self.notify()
            pool.join(1.0)
        if len(pool):
            self.log.warning("Worker graceful timeout (pid:%s)", self.pid)
            self._stop_active()
            pool.kill(timeout=1.0)

    def _prepare(self) -> None:
        self.idle: dict[socket.socket, int] = {}
        self._addresses: dict[Any, Any] = {}
        self.clock = 0
        self.date = http_date()
        self.slots = Slots(self.idle, self.worker_connections)
        settings = [self.cfg.settings[name] for name in _GUNICORN_ONLY if name in self.cfg.settings]
        changed = any(setting.get() != setting.default for setting in settings)
        sized = self.cfg.limit_request_field_size not in (
            MAX_HEAD,
            self.cfg.settings["limit_request_field_size"].default,
        )
        self._leaves_all = changed or sized or not self.cfg.keepalive or "SCRIPT_NAME" in os.environ
        self._environ = base_environ(self.cfg) | {
            "SCRIPT_NAME": "",
            "wsgi.multithread": True,
            "wsgi.url_scheme": "http",
        }
        self._secure_fields = {
            "HTTP_" + name.replace("-", "_"): value for name, value in self.cfg.secure_scheme_headers.items()
        }
        self._trusts_all = "*" in self.cfg.forwarded_allow_ips
        self._trusted = [ip_network(network) for network in self.cfg.forwarded_allow_ips if network != "*"]

    def _listen(self, listener: Any, pool: Pool) -> Listener:
        listener.setblocking(True)
        self._addresses[listener] = listener.getsockname()  # which a listener that was closed does not tell
        tls = {"ssl_context": ssl_context(self.cfg)} if self.cfg.is_ssl else {}
        server = Listener(self.slots, listener, handle=partial(self.handle, listener), spawn=pool, **tls)
        if self.cfg.workers > 1:
            # The other workers shall get some, too.
            server.max_accept = 1
        return server

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serves one connection, and closes it. `addr` is the client's, no tuple behind a Unix socket."""
        if not self.slots.take():
            self.slots.refuse(client)
            client.close()
            return
        try:
            self._serve(listener, client, addr)
        finally:
            self.slots.give()

    def _serve(self, listener: Any, client: Any, addr: Any) -> None:
        if self._leaves_all:
            super().handle(listener, client, addr)
            return
        # For each single write to a client that does not read; reads wait elsewhere.
        client.settimeout(self.cfg.keepalive)
        ahead = b""
        # Whoever ends the greenlet from outside, and a client that is gone, ends the connection without a word.
        with contextlib.suppress(gevent.GreenletExit):
            ahead = ClientConnection(self, client, self._make_site(listener, client, addr)).serve()
        if ahead:
            # Past GeventWorker, which would take the time limit off again.
            super(GeventWorker, self).handle(listener, Reread(self, client, ahead), addr)
        else:
            client.close()

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """One request that gunicorn has read."""
        if isinstance(sock, Reread):
            sock.begin_body()
            try:
                super().handle_request(listener_name, req, sock, addr)
            finally:
                sock.begin_head()
        else:
            super().handle_request(listener_name, req, sock, addr)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answers what gunicorn could not read, or did not get to the end with: in the client's dialect, and without
        gunicorn's words, which quote the client."""
        if isinstance(exc, gevent.GreenletExit | OSError):
            return
        beginning = getattr(client, "beginning", b"")
        if req is None or isinstance(exc, ParseException):
            refuse(client, *explain(exc), beginning)
        else:
            self.log.error("Error handling request", exc_info=exc)
            refuse(client, 500, "internal error of the gateway", beginning)

    def goes_on(self) -> bool:
        """Counts a request; whether its connection may be kept after it."""
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
        return bool(self.alive)

    def notify(self) -> None:
        """gunicorn's own loop calls this once a second, also while a worker that stops waits for its streams."""
        super().notify()
        self.clock += 1
        self.date = http_date()
        # Before an end, who has just connected or been answered may have a request on its way. Who takes longer finds
        # the connection closed, or reset: nothing of that request was taken up, and clients send it again.
        longest = self.cfg.keepalive if self.alive else 1
        for client, since in self.idle.items():
            if self.clock - since > longest:
                # Wakes its greenlet with an end of the connection. A request that has just arrived is still read.
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RD)

    def _make_site(self, listener: Any, client: Any, addr: Any) -> Site:
        environ = self._environ | {"gunicorn.socket": client}
        server = self._addresses[listener]
        if isinstance(server, tuple):
            environ |= {"SERVER_NAME": server[0], "SERVER_PORT": str(server[1])}
        if not isinstance(addr, tuple):
            return Site(environ | {"REMOTE_ADDR": ""}, self._secure_fields)
        environ |= {"REMOTE_ADDR": addr[0], "REMOTE_PORT": str(addr[1])}
        return Site(environ, self._secure_fields if self._is_trusted(addr[0]) else {})

    def _is_trusted(self, host: str) -> bool:
        """Whether a proxy at this address is believed what it says of its client."""
        return self._trusts_all or any(ip_address(host) in network for network in self._trusted)
