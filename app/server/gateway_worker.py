"""A gunicorn worker with its own, cheaper HTTP handling.

It differs from gunicorn's gevent worker only in how it serves a connection. ClientConnection reads and answers ordinary
HTTP/1.1 requests. From a connection's first unusual request on, gunicorn takes it over.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import signal
import socket
import struct
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
from gunicorn.workers.workertmp import WorkerTmp

from app.server.connections.client_connection import ClientConnection
from app.server.connections.refusals import explain, refuse
from app.server.connections.request_parser import Shared, Site
from app.server.connections.reread import Reread, name_host
from app.server.connections.slots import Listener, Slots
from app.server.gunicorn_settings import MAX_HEAD
from app.server.heap import trim_heap
from app.server.master import ENDING

# If one of these gunicorn settings is not at its default, gunicorn serves all connections: they request TLS, other
# protocols, or something to do for each request.
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
_COUNT = struct.Struct("=i")


class Heartbeat(WorkerTmp):  # type: ignore[misc]  # gunicorn is untyped
    """Keeps the time of the last sign of life, in an anonymous memory file if the system has such files."""

    def __init__(self, cfg: Any) -> None:
        if hasattr(os, "memfd_create"):
            self._tmp = os.fdopen(os.memfd_create("dragoman-worker"), "w+b", 0)
        else:
            super().__init__(cfg)


# gunicorn's own creates a file in a temporary folder, and can only be replaced in this way.
base.WorkerTmp = Heartbeat


class GatewayWorker(GeventWorker):  # type: ignore[misc]  # gunicorn is untyped
    """Connections use `idle`, which maps those that wait for a request to the clock when that began, oldest first;
    `clock`, the seconds since the start; and `date`, the value of the Date header. All are updated once a second."""

    alive: bool
    nr: int

    def __init__(self, *args: Any, **options: Any) -> None:
        """Called in the master, before the fork."""
        super().__init__(*args, **options)
        self.shown = Shown()
        self.serves = Shown()
        self.cut = False
        self._stopping = Event()

    def init_signals(self) -> None:
        super().init_signals()
        # A terminal sends Ctrl-C to all of its processes, but only the master handles it.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        # Delivers signals that arrived during the start, which the master blocked.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, ENDING)

    def handle_exit(self, sig: int, frame: Any) -> None:
        """TERM: stops after the running requests."""
        self.shown.count = len(self._active()) if self.booted else 0
        # There is no application before the boot.
        if self.booted and (runtime := getattr(self.wsgi, "runtime", None)) is not None:
            runtime.draining = True
        super().handle_exit(sig, frame)
        if self.booted:
            self._stopping.set()

    def handle_quit(self, sig: int, frame: Any) -> None:
        """QUIT: running requests are cut off, and logged."""
        self.alive = False
        gevent.spawn(self._quit)

    def _quit(self) -> None:
        # Whatever goes wrong here, this process must end.
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
        """The running requests, if the application is ours; else empty."""
        runtime = getattr(getattr(self, "wsgi", None), "runtime", None)
        return () if runtime is None else runtime.active

    def run(self) -> None:
        """Serves until the worker is told to stop, and then until its last request ends or graceful_timeout is over."""
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
        # On the monotonic clock, which nobody can set.
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
        # The numbers of requests a second ago, and when the heap was trimmed.
        self._seen = self._trimmed_at = 0
        self.slots = Slots(self.idle, self.worker_connections)
        settings = [self.cfg.settings[name] for name in _GUNICORN_ONLY if name in self.cfg.settings]
        changed = any(setting.get() != setting.default for setting in settings)
        sized = self.cfg.limit_request_field_size not in (
            MAX_HEAD,
            self.cfg.settings["limit_request_field_size"].default,
        )
        self._leaves_all = changed or sized or not self.cfg.keepalive or "SCRIPT_NAME" in os.environ
        common = {"SCRIPT_NAME": "", "wsgi.multithread": True, "wsgi.url_scheme": "http"}
        self._shared = Shared(base_environ(self.cfg) | common)
        self._secure_fields = {
            "HTTP_" + name.replace("-", "_"): value for name, value in self.cfg.secure_scheme_headers.items()
        }
        self._trusts_all = "*" in self.cfg.forwarded_allow_ips
        self._trusted = [ip_network(network) for network in self.cfg.forwarded_allow_ips if network != "*"]

    def _listen(self, listener: Any, pool: Pool) -> Listener:
        listener.setblocking(True)
        self._addresses[listener] = listener.getsockname()  # a closed listener no longer knows it
        tls = {"ssl_context": ssl_context(self.cfg)} if self.cfg.is_ssl else {}
        server = Listener(self.slots, listener, handle=partial(self.handle, listener), spawn=pool, **tls)
        if self.cfg.workers > 1:
            # Leaves connections for the other workers.
            server.max_accept = 1
        return server

    def handle(self, listener: Any, client: Any, addr: Any) -> None:
        """Serves one connection, and closes it. `addr` is the client's address; not a tuple for a Unix socket."""
        if not self.slots.take():
            with contextlib.closing(client):
                self.slots.refuse(client)
            return
        try:
            self._serve(listener, client, addr)
        finally:
            client.close()
            self.slots.give()

    def _serve(self, listener: Any, client: Any, addr: Any) -> None:
        if self._leaves_all:
            super().handle(listener, client, addr)
            return
        # The limit for each single write, if the client does not read. Reads have their own limits.
        client.settimeout(self.cfg.keepalive)
        ahead = b""
        # If the greenlet is killed or the client is gone, the connection ends silently.
        with contextlib.suppress(gevent.GreenletExit):
            ahead = ClientConnection(self, client, self._make_site(listener, client, addr)).serve()
        if ahead:
            # Bypasses GeventWorker's method, which would remove the time limit.
            super(GeventWorker, self).handle(listener, Reread(self, client, ahead), addr)

    def handle_request(self, listener_name: Any, req: Any, sock: Any, addr: Any) -> None:
        """Handles one request that gunicorn has read."""
        if isinstance(sock, Reread):
            sock.begin_body(req)
            name_host(req)
            try:
                super().handle_request(listener_name, req, sock, addr)
            finally:
                sock.begin_head()
        else:
            super().handle_request(listener_name, req, sock, addr)

    def handle_error(self, req: Any, client: Any, addr: Any, exc: BaseException) -> None:
        """Answers requests that gunicorn could not read or finish. Uses the client's dialect, and not gunicorn's own
        messages, which quote the client."""
        if isinstance(exc, gevent.GreenletExit | OSError):
            return
        beginning = getattr(client, "beginning", b"")
        if req is None or isinstance(exc, ParseException):
            refuse(client, *explain(exc), beginning)
        else:
            self.log.error("Error handling request", exc_info=exc)
            refuse(client, 500, "internal error of the gateway", beginning)

    def goes_on(self) -> bool:
        """Counts a request. Returns whether its connection may be kept open afterwards."""
        self.nr += 1
        if self.nr >= self.max_requests and self.alive:
            self.log.info("Autorestarting worker after current request.")
            self.alive = False
        return bool(self.alive)

    def notify(self) -> None:
        """Called once a second, even while a stopping worker waits for its streams. Ends connections that have been
        idle for too long."""
        super().notify()
        self.clock += 1
        self.date = http_date()
        if self.nr == self._seen != self._trimmed_at:
            self._trimmed_at = self.nr
            trim_heap()
        self._seen = self.nr
        # During a stop, a client that has just connected or been answered may have sent another request, so idle
        # connections get one more second. Later requests find the connection closed or reset: nothing of them was
        # processed, and clients send them again.
        longest = self.cfg.keepalive if self.alive else 1
        for client, since in self.idle.items():
            if self.clock - since > longest:
                # Wakes its greenlet with an end of file. A request that has just arrived is still read.
                with contextlib.suppress(OSError):
                    client.shutdown(socket.SHUT_RD)

    def _make_site(self, listener: Any, client: Any, addr: Any) -> Site:
        environ = {"gunicorn.socket": client}
        server = self._addresses[listener]
        if isinstance(server, tuple):
            environ |= {"SERVER_NAME": server[0], "SERVER_PORT": str(server[1])}
        if not isinstance(addr, tuple):
            return Site(environ | {"REMOTE_ADDR": ""}, self._secure_fields, self._shared)
        environ |= {"REMOTE_ADDR": addr[0], "REMOTE_PORT": str(addr[1])}
        return Site(environ, self._secure_fields if self._is_trusted(addr[0]) else {}, self._shared)

    def _is_trusted(self, host: str) -> bool:
        """Whether a proxy at this address is trusted to describe its client."""
        return self._trusts_all or any(ip_address(host) in network for network in self._trusted)


class Shown:
    """A number in memory that master and worker share: how many requests the worker runs. None until it sets it."""

    def __init__(self) -> None:
        self._memory = mmap.mmap(-1, _COUNT.size)
        _COUNT.pack_into(self._memory, 0, -1)

    @property
    def count(self) -> int | None:
        count = int(_COUNT.unpack_from(self._memory)[0])
        return None if count < 0 else count

    @count.setter
    def count(self, count: int) -> None:
        _COUNT.pack_into(self._memory, 0, count)
