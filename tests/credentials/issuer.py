"""A stand-in for the issuers: discovery, authorize, token, revoke, with refresh tokens that live once."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlencode, urlsplit

Reply = tuple[int, dict[str, Any], dict[str, str]]


def make_jwt(lifetime: float = 3600, /, **claims: Any) -> str:
    """An unsigned token that expires in `lifetime` seconds."""

    def part(value: Any) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    now = int(time.time())
    payload = {"iat": now, "exp": now + int(lifetime), "sub": "somebody", **claims}
    return f"{part({'alg': 'RS256'})}.{part(payload)}.{part('signature')}"


class Issuer:
    """Listens on loopback from construction to `stop`.

    `uses` are the refresh tokens that were presented, in order; `newest` is the only one that is worth something.
    Switches: `delay` in seconds, `hook(refresh_token)` may give a reply of its own, `skew` is added to what the
    tokens say of their expiry, `rotates`, `lifetime`.
    """

    def __init__(self, kind: str = "oca") -> None:
        self.kind = kind
        self.uses: list[str] = []
        self.forms: list[dict[str, str]] = []
        self.encodings: list[str] = []
        self.headers: list[dict[str, str]] = []
        self.revoked: list[str] = []
        self.discoveries = 0
        self.newest = "refresh-secret-0"
        self.live: set[str] = set()
        self.delay = 0.0
        self.skew = 0.0
        self.lifetime = 3600.0
        self.rotates = True
        self.publishes = True
        self.hook: Callable[[str], Reply | None] | None = None
        self._granted = 0
        self._codes: dict[str, dict[str, str]] = {}
        self._lock = threading.Lock()
        self._server = _Server(self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()

    def stop(self) -> None:
        self._server.shutdown()
        self._server.server_close()

    def grant(self) -> tuple[str, str]:
        """A new pair of access and refresh token; the old refresh token is worth nothing from now on."""
        self._granted += 1
        if self.kind == "anthropic":
            access = f"sk-ant-oat01-access-secret-{self._granted}"
        else:
            access = make_jwt(
                self.lifetime + self.skew,
                number=self._granted,
                **{"https://api.openai.com/auth": {"chatgpt_account_id": "acc-1", "chatgpt_plan_type": "plus"}},
            )
        if self.rotates:
            self.newest = f"refresh-secret-{self._granted}"
        self.live.add(access)
        return access, self.newest

    def authorize(self, query: dict[str, str]) -> str:
        """What the browser does after its user said yes: the address that it is sent to."""
        with self._lock:
            code = f"code-secret-{len(self._codes)}"
            self._codes[code] = query
        return f"{query['redirect_uri']}?{urlencode({'code': code, 'state': query['state']})}"

    def answer(self, method: str, path: str, form: dict[str, str]) -> Reply:
        if path.endswith("/.well-known/openid-configuration"):
            self.discoveries += 1
            if not self.publishes:
                return 404, {}, {}
            return 200, {"token_endpoint": f"{self.url}/published/token", "issuer": self.url}, {}
        if path.endswith("/revoke"):
            self.revoked.append(form["token"])
            return 200, {}, {}
        if method != "POST" or not path.endswith("/token"):
            return 404, {"error": "not_found"}, {}
        if form.get("grant_type") == "authorization_code":
            return self._exchange(form)
        return self._refresh(form)

    def _exchange(self, form: dict[str, str]) -> Reply:
        with self._lock:
            query = self._codes.pop(form.get("code", ""), None)
            if query is None:
                return 400, {"error": "invalid_grant"}, {}
            digest = hashlib.sha256(form["code_verifier"].encode()).digest()
            challenge = base64.urlsafe_b64encode(digest).rstrip(b"=").decode()
            same = all(form.get(key) == query.get(key) for key in ("client_id", "redirect_uri"))
            if challenge != query["code_challenge"] or query["code_challenge_method"] != "S256" or not same:
                return 400, {"error": "invalid_grant", "error_description": "PKCE"}, {}
            return self._tokens(nonce=query.get("nonce"))

    def _refresh(self, form: dict[str, str]) -> Reply:
        token = form.get("refresh_token", "")
        with self._lock:
            self.uses.append(token)
        reply = self.hook(token) if self.hook else None
        if reply is not None:
            return reply
        with self._lock:
            if token != self.newest:
                return 400, {"error": "invalid_grant", "error_description": f"{token} is not known"}, {}
            reply = self._tokens()
        time.sleep(self.delay)
        return reply

    def _tokens(self, nonce: str | None = None) -> Reply:
        access, refresh = self.grant()
        claims = {"nonce": nonce} if nonce else {}
        return (
            200,
            {
                "token_type": "Bearer",
                "access_token": access,
                "refresh_token": refresh,
                "expires_in": self.lifetime,
                "id_token": make_jwt(email="me@example.com", **claims),
            },
            {},
        )


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 512

    def __init__(self, issuer: Issuer) -> None:
        self.issuer = issuer
        super().__init__(("127.0.0.1", 0), _Handler)


class _Handler(BaseHTTPRequestHandler):
    server: _Server

    def do_GET(self) -> None:
        address = urlsplit(self.path)
        if not address.path.endswith("/authorize"):
            self._reply({})
            return
        # The user says yes at once.
        self.send_response(302)
        self.send_header("location", self.server.issuer.authorize(dict(parse_qsl(address.query))))
        self.send_header("content-length", "0")
        self.end_headers()

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0))).decode()
        is_json = "json" in self.headers.get("content-type", "")
        form = json.loads(body) if is_json else dict(parse_qsl(body))
        self.server.issuer.forms.append(form)
        self.server.issuer.encodings.append("json" if is_json else "form")
        self.server.issuer.headers.append(dict(self.headers))
        self._reply(form)

    def _reply(self, form: dict[str, str]) -> None:
        status, document, headers = self.server.issuer.answer(self.command, urlsplit(self.path).path, form)
        body = json.dumps(document).encode()
        self.send_response(status)
        for name, value in {"content-type": "application/json", "content-length": str(len(body)), **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        """Tests print nothing."""
