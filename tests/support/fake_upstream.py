"""A scripted upstream on a loopback port, for every test that needs one.

    with FakeUpstream(sse(b"data: 1\n\n", 0.2, b"data: 2\n\n", CUT)) as upstream:
        ...                                  # call upstream.url
        assert upstream.seen[0].json() == …

Each request gets the next reply of the script; the last reply repeats. A reply is made of pieces: bytes are sent as
they are, a number is a pause in seconds, CUT resets the connection, CLOSE closes it, STALL is silent until the peer
leaves.
"""

from __future__ import annotations

import contextlib
import json
import select
import socket
import ssl
import struct
import threading
import time
import zlib
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, Literal

import trustme


class Act(Enum):
    """What a reply can do besides sending and pausing."""

    CUT = "reset the connection"
    CLOSE = "close the connection"
    STALL = "be silent until the peer leaves"


CUT, CLOSE, STALL = Act.CUT, Act.CLOSE, Act.STALL

Piece = bytes | float | Act
Framing = Literal["chunked", "length", "connection", "raw"]


@dataclass(frozen=True)
class Reply:
    """One scripted reply.

    `framing`: "chunked" sends each bytes piece as an HTTP chunk; "length" announces the sum of the pieces (or what
    `headers` says) first; "connection" ends the body by closing; "raw" sends the pieces alone, head included.
    `delay` is the silence before the head, in seconds. `gzip` compresses the body and flushes after each piece.
    """

    pieces: tuple[Piece, ...] = (b"{}",)
    status: int = 200
    headers: dict[str, str] = field(default_factory=dict)
    framing: Framing = "chunked"
    delay: float = 0.0
    gzip: bool = False


def json_reply(data: object, status: int = 200, headers: dict[str, str] | None = None) -> Reply:
    """A whole JSON body with its length."""
    body = json.dumps(data, ensure_ascii=False, separators=(",", ":")).encode()
    return Reply((body,), status, {"content-type": "application/json", **(headers or {})}, framing="length")


def sse(*pieces: Piece, **options: Any) -> Reply:
    """A stream of server-sent events; `options` are fields of Reply."""
    headers = {"content-type": "text/event-stream", **options.pop("headers", {})}
    return Reply(pieces, headers=headers, **options)


def raw(*pieces: Piece) -> Reply:
    """Bytes exactly as they go over the wire, from the status line on."""
    return Reply(pieces, framing="raw")


@dataclass
class Seen:
    """A request that arrived. `peer_left` is the `time.monotonic()` at which the peer closed during the reply."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes
    connection: int
    peer_left: float | None = None

    def json(self) -> Any:
        return json.loads(self.body)


class FakeUpstream:
    """A server of threads and plain sockets, as slow and as faulty as its script. To be used in a `with`."""

    def __init__(self, *replies: Reply, tls: bool = False, port: int = 0) -> None:
        self.seen: list[Seen] = []
        self.accepted = 0
        self.listing: Reply | None = None  # what a GET gets instead of the script
        self._replies = list(replies) or [Reply()]
        self._authority = trustme.CA() if tls else None
        self._listener = socket.create_server(("127.0.0.1", port), backlog=512)
        self._open: set[socket.socket] = set()
        self._changed = threading.Condition()
        self._stopped = False

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    @property
    def url(self) -> str:
        """The base URL, without a slash at its end; the certificate of a TLS upstream is for `localhost`
        and `upstream.test`."""
        return f"https://localhost:{self.port}" if self._authority else f"http://127.0.0.1:{self.port}"

    def write_ca(self, path: str) -> str:
        """Writes the certificate of the authority that vouches for a TLS upstream; gives back `path`."""
        assert self._authority is not None
        self._authority.cert_pem.write_to_path(path)
        return path

    def script(self, *replies: Reply) -> None:
        """Replaces what is left of the script."""
        with self._changed:
            self._replies = list(replies)

    def wait_for(self, count: int = 1, seconds: float = 5.0) -> list[Seen]:
        """The requests seen, once there are `count`; fails the test after `seconds`."""
        with self._changed:
            arrived = self._changed.wait_for(lambda: len(self.seen) >= count, seconds)
            assert arrived, f"{len(self.seen)} of {count} requests reached the upstream"
            return list(self.seen)

    def wait_until_left(self, index: int = 0, seconds: float = 5.0) -> float:
        """The `time.monotonic()` at which the peer of a request left; fails the test after `seconds`."""
        with self._changed:
            left = self._changed.wait_for(lambda: self.seen[index].peer_left is not None, seconds)
            assert left, f"the peer of request {index} did not leave within {seconds} s"
            moment = self.seen[index].peer_left
            assert moment is not None
            return moment

    def drop_idle(self) -> None:
        """Closes every connection from this side, as servers do after a while without requests."""
        for sock in list(self._open):
            _close(sock)

    def __enter__(self) -> FakeUpstream:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stopped = True
        _close(self._listener)
        self.drop_idle()

    def _accept(self) -> None:
        context = None
        if self._authority is not None:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            self._authority.issue_cert("localhost", "upstream.test").configure_cert(context)
        while not self._stopped:
            try:
                sock, _ = self._listener.accept()
            except OSError:
                return
            self.accepted += 1
            threading.Thread(target=self._serve, args=(sock, context, self.accepted), daemon=True).start()

    def _serve(self, sock: socket.socket, context: ssl.SSLContext | None, number: int) -> None:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._open.add(sock)
        with contextlib.suppress(OSError):
            if context is not None:
                plain, sock = sock, context.wrap_socket(sock, server_side=True)
                self._open.discard(plain)
                self._open.add(sock)
            with sock.makefile("rb") as stream:
                while request := _read_request(stream, number):
                    with self._changed:
                        self.seen.append(request)
                        reply = self._next_reply(request)
                        self._changed.notify_all()
                    if not self._answer(sock, request, reply):
                        break
        self._open.discard(sock)
        _close(sock)

    def _next_reply(self, request: Seen) -> Reply:
        if self.listing is not None and request.method == "GET":
            return self.listing
        return self._replies[0] if len(self._replies) == 1 else self._replies.pop(0)

    def _answer(self, sock: socket.socket, request: Seen, reply: Reply) -> bool:
        """Plays a reply; whether the connection may carry another request."""
        try:
            if reply.delay and self._peer_leaves(sock, request, reply.delay):
                return False
            deflater = zlib.compressobj(wbits=31) if reply.gzip else None
            pieces = [_squeeze(piece, deflater) for piece in reply.pieces]
            if deflater is not None:
                pieces.append(deflater.flush())
            if reply.framing != "raw":
                sock.sendall(_head(reply, pieces))
            for piece in pieces:
                if not self._play(sock, request, reply, piece):
                    return False
            if reply.framing == "chunked":
                sock.sendall(b"0\r\n\r\n")
        except OSError:
            self._note_left(request)
            return False
        return reply.framing != "connection"

    def _play(self, sock: socket.socket, request: Seen, reply: Reply, piece: Piece) -> bool:
        """One piece; whether the reply goes on."""
        match piece:
            case bytes():
                sock.sendall(b"%x\r\n%b\r\n" % (len(piece), piece) if reply.framing == "chunked" and piece else piece)
                return True
            case Act.CUT:
                # Without a linger time, and without a shutdown first, closing is a reset.
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                sock.close()
                return False
            case Act.CLOSE:
                return False
            case Act.STALL:
                self._peer_leaves(sock, request, None)
                return False
            case _:
                return not self._peer_leaves(sock, request, piece)

    def _peer_leaves(self, sock: socket.socket, request: Seen, seconds: float | None) -> bool:
        """Waits; whether the peer closed the connection meanwhile."""
        readable = _is_readable(sock, seconds)
        if readable:
            with contextlib.suppress(OSError):
                while sock.recv(4096):
                    pass
            self._note_left(request)
        return readable

    def _note_left(self, request: Seen) -> None:
        with self._changed:
            request.peer_left = request.peer_left or time.monotonic()
            self._changed.notify_all()


def _read_request(stream: Any, number: int) -> Seen | None:
    line = stream.readline().decode("latin-1").split()
    if len(line) != 3:
        return None
    headers: dict[str, str] = {}
    while (header := stream.readline().decode("latin-1").strip()) != "":
        name, _, value = header.partition(":")
        headers[name.lower()] = value.strip()
    body = stream.read(int(headers.get("content-length", "0")))
    return Seen(line[0], line[1], headers, body, number)


def _head(reply: Reply, pieces: list[Piece]) -> bytes:
    headers = dict(reply.headers)
    if reply.gzip:
        headers.setdefault("content-encoding", "gzip")
    if reply.framing == "chunked":
        headers.setdefault("transfer-encoding", "chunked")
    elif reply.framing == "length":
        headers.setdefault("content-length", str(sum(len(piece) for piece in pieces if isinstance(piece, bytes))))
    else:
        headers.setdefault("connection", "close")
    lines = [f"HTTP/1.1 {reply.status} Scripted", *(f"{name}: {value}" for name, value in headers.items())]
    return "\r\n".join([*lines, "", ""]).encode("latin-1")


def _squeeze(piece: Piece, deflater: Any) -> Piece:
    if deflater is None or not isinstance(piece, bytes):
        return piece
    return bytes(deflater.compress(piece) + deflater.flush(zlib.Z_SYNC_FLUSH))


def _close(sock: socket.socket) -> None:
    """Closes a socket so that a thread waiting in it wakes up."""
    with contextlib.suppress(OSError):
        sock.shutdown(socket.SHUT_RDWR)
    sock.close()


def _is_readable(sock: socket.socket, seconds: float | None) -> bool:
    """By poll: select knows no descriptor beyond 1,023."""
    poll = select.poll()
    poll.register(sock, select.POLLIN)
    return bool(poll.poll(None if seconds is None else seconds * 1000))
