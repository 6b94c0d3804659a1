"""A SOCKS proxy on a loopback port: versions 4, 4a and 5, with or without user and password."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading

_GRANTED_4 = b"\x00\x5a" + bytes(6)
_GRANTED_5 = b"\x05\x00\x00\x01" + bytes(6)


class SocksServer:
    """To be used in a `with`. `asked` is what clients wanted to reach: a name where the look-up was left to the proxy,
    else an address. `refuses` makes it open no way."""

    def __init__(self, login: tuple[str, str] | None = None, *, refuses: bool = False) -> None:
        self.asked: list[tuple[str, int]] = []
        self._login = login
        self._refuses = refuses
        self._listener = socket.create_server(("127.0.0.1", 0))

    @property
    def port(self) -> int:
        return int(self._listener.getsockname()[1])

    def __enter__(self) -> SocksServer:
        threading.Thread(target=self._accept, daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._serve, args=(client,), daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, struct.error, IndexError), client:
            version = _read(client, 1)[0]
            target = self._greet_5(client) if version == 5 else self._greet_4(client)
            if target is None:
                return
            self.asked.append(target)
            if self._refuses:
                client.sendall(b"\x05\x02\x00\x01" + bytes(6) if version == 5 else b"\x00\x5b" + bytes(6))
                return
            host = "127.0.0.1" if target[0].endswith(".test") else target[0]
            with socket.create_connection((host, target[1]), 5) as upstream:
                client.sendall(_GRANTED_5 if version == 5 else _GRANTED_4)
                threading.Thread(target=_copy, args=(upstream, client), daemon=True).start()
                _copy(client, upstream)

    def _greet_5(self, client: socket.socket) -> tuple[str, int] | None:
        methods = _read(client, _read(client, 1)[0])
        wanted = 2 if self._login else 0
        client.sendall(bytes((5, wanted if wanted in methods else 255)))
        if wanted not in methods:
            return None
        if self._login:
            _read(client, 1)
            user, password = (_read(client, _read(client, 1)[0]).decode() for _ in range(2))
            client.sendall(bytes((1, (user, password) != self._login)))
            if (user, password) != self._login:
                return None
        kind = _read(client, 4)[3]
        if kind == 1:
            host = socket.inet_ntoa(_read(client, 4))
        elif kind == 4:
            host = socket.inet_ntop(socket.AF_INET6, _read(client, 16))
        else:
            host = _read(client, _read(client, 1)[0]).decode()
        return host, struct.unpack(">H", _read(client, 2))[0]

    def _greet_4(self, client: socket.socket) -> tuple[str, int]:
        _command, port, address = struct.unpack(">BH4s", _read(client, 7))
        _read_text(client)
        named = address[:3] == bytes(3) and address[3]
        return _read_text(client) if named else socket.inet_ntoa(address), port


def _read(client: socket.socket, count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = client.recv(count - len(data))
        if not piece:
            raise ConnectionResetError
        data += piece
    return data


def _read_text(client: socket.socket) -> str:
    text = b""
    while (char := _read(client, 1)) != b"\0":
        text += char
    return text.decode()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
