"""A page in somebody's browser: it may send nothing, under no name, on no path, and learns nothing."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from werkzeug.test import Client, EnvironBuilder

from app import create_app
from app.application import Application
from app.errors import Forbidden
from app.gateway.client_access.access import Access
from app.settings import ProviderSettings, ServerSettings, Settings

Figure = Callable[[str, object, object], None]

CROSS_SITE = [
    {"origin": "https://evil.example"},
    {"origin": "http://evil.example:8080"},
    {"origin": "http://localhost.evil.example"},
    {"origin": "http://localhost:81"},
    {"origin": "null"},
    {"origin": ""},
    {"origin": "file://"},
    {"origin": "chrome-extension://abcdef"},
    {"origin": "http://localhost."},
    {"origin": "http://LOCALHOST"},
    {"origin": "http://localhost@evil.example"},
    {"origin": "http://evil.example#://localhost"},
    {"origin": "http://localhost http://evil.example"},
    {"origin": "http://localhost, http://evil.example"},
    {"origin": "localhost"},
    {"origin": "http://[::1]"},
    {"origin": "null", "sec-fetch-site": "same-origin"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site"},
    {"sec-fetch-site": "cross-site", "origin": "http://localhost"},
    {"sec-fetch-site": "same-origin", "origin": "https://evil.example"},
    {"sec-fetch-site": "none", "origin": "null"},
    {"sec-fetch-site": "something-new"},
]
WRITING = ("POST", "PUT", "PATCH", "DELETE")
PATHS = (
    "/v1/messages", "/v1/messages/count_tokens", "/v1/chat/completions", "/v1/responses", "/v1/responses/resp_1",
    "/v1/responses/resp_1/cancel", "/v1/responses/compact", "/v1/conversations", "/v1/conversations/conv_1/items",
    "/v1/completions", "/v1/embeddings", "/login", "/logout", "/callback", "/api/event_logging/batch",
    "/demo/v1/messages", "/demo/session/v1/chat/completions", "/nowhere", "/health", "/",
)  # fmt: skip


@pytest.fixture(scope="module")
def app() -> Application:
    return create_app(Settings(providers={"demo": ProviderSettings(kind="demo")}))


def test_no_request_of_another_site_gets_through(app: Application, figure: Figure) -> None:
    client = Client(app)
    passed = []
    rules = {
        "/".join("x" if "<" in part else part for part in str(rule).split("/")) for rule in app.url_map.iter_rules()
    }
    cases = [
        *itertools.product(PATHS, WRITING, CROSS_SITE),
        *itertools.product(sorted(rules), WRITING, CROSS_SITE[::7]),
    ]

    for path, method, headers in cases:
        answer = client.open(path, method=method, headers=headers, data=b"{}", content_type="text/plain")
        if answer.status_code != 403:
            passed.append((path, method, headers))
        assert "access-control-allow-origin" not in answer.headers
        assert answer.get_json()["error"]["message"]

    assert passed == []
    figure("cross-site requests tried / passed", f"{len(cases)} / 0", "0 passed")


@pytest.mark.parametrize(
    "headers", [{}, {"origin": "http://localhost"}, {"sec-fetch-site": "none"}, {"sec-fetch-site": "same-origin"}]
)
def test_programs_and_pages_of_ours_are_not_hindered(app: Application, headers: dict[str, str]) -> None:
    body = {"model": "demo/demo", "messages": [{"role": "user", "content": "hi"}]}

    assert Client(app).post("/v1/chat/completions", json=body, headers=headers).status_code == 200


def test_a_configured_origin_may_send() -> None:
    server = ServerSettings(cors_origins=("https://app.example",))
    app = create_app(Settings(server=server, providers={"demo": ProviderSettings(kind="demo")}))
    body = {"model": "demo/demo", "messages": [{"role": "user", "content": "hi"}]}

    headers = {"origin": "https://app.example", "sec-fetch-site": "cross-site"}
    assert Client(app).post("/v1/chat/completions", json=body, headers=headers).status_code == 200


@pytest.mark.parametrize(
    "settings",
    [
        ServerSettings(),
        ServerSettings(trusted_proxies=("127.0.0.1",)),
        ServerSettings(trusted_proxies=("127.0.0.1",), api_keys=("sk-client-key",)),
        ServerSettings(host="0.0.0.0", allow_open=True),
        ServerSettings(host="0.0.0.0", allow_open=True, trusted_proxies=("10.0.0.1",)),
        ServerSettings(host="0.0.0.0", api_keys=("sk-client-key",), allowed_hosts=("gateway.lan",)),
    ],
)
def test_a_name_that_a_page_pointed_at_us_is_refused_however_we_are_set_up(settings: ServerSettings) -> None:
    access = Access(settings)

    for name in ("evil.example", "evil.example:8080", "localhost.evil.example", "127.0.0.1.evil.example", "[::1].evil"):
        with pytest.raises(Forbidden):
            access.check_host(name)
    access.check_host("localhost:8080")


NO_NAMES_OF_OURS = (
    "localhost.", "localhost.:80", "127.0.0.1.", "127.1", "2130706433", "0x7f000001", "0", "[::1%25lo]", "",
    "user@localhost", "localhost@evil.example", "evil.example@localhost", "localhost:80@evil.example", "localhost:",
    "localhost,evil.example", "localhost evil.example", "localhost:80:80", "localhost:-1", "localhost\0", "localhost/",
    "localhost#", "evil.example:localhost", "[evil.example]", "[localhost]", "\u24dbocalhost", "[::ffff:127.0.0.1]",
)  # fmt: skip


@pytest.mark.parametrize("name", NO_NAMES_OF_OURS, ids=ascii)
def test_a_name_that_only_resembles_ours_is_refused(name: str) -> None:
    with pytest.raises(Forbidden):
        Access(ServerSettings()).check_host(name)


def test_beyond_this_machine_only_a_key_makes_up_for_a_name() -> None:
    key = "sk-client-key-1"
    server = ServerSettings(host="0.0.0.0", api_keys=(key,), trusted_proxies=("127.0.0.1",))
    client = Client(create_app(Settings(server=server, providers={"demo": ProviderSettings(kind="demo")})))

    def ask(path: str, host: str, **headers: str) -> int:
        return client.get(path, headers={"host": host, **headers}).status_code

    pages = ("/", "/login", "/logout", "/_/sign-in", "/v1/models", "/nowhere")
    shown = {(page, name): ask(page, name) for page in pages for name in ("evil.example", "a.evil.example:8080")}
    assert set(shown.values()) == {403}, shown
    assert [ask("/login", name) for name in ("gateway", "gateway:8080", "10.0.0.7", "[fd00::1]:80", "localhost")] == [
        200
    ] * 5
    assert ask("/v1/models", "evil.example", **{"x-api-key": key}) == 200
    assert ask("/v1/models", "evil.example", **{"x-api-key": "sk-another-key"}) == 403
    assert [ask(path, "evil.example") for path in ("/ping", "/health", "/health/live")] == [200] * 3


def test_the_address_of_a_static_file_reads_no_other_file_and_is_not_remembered(
    app: Application, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[str] = []
    secret = tmp_path / "secret"
    secret.write_text("x")
    client = Client(app)
    client.get("/_/static/page.js", buffered=True).close()
    genuine = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda path: (read.append(str(path)), genuine(path))[1])
    up = [f"{dots}{mark}" * 12 + str(secret)[1:] for dots in ("..", "%2e%2e") for mark in ("/", "%2f")]

    for name in [*up, f"%2f{secret}", "a" * 4000, "a%00", "%ff", "..", ".", "page.js%00", "vendor"]:
        answer = client.open(EnvironBuilder(f"/_/static/{name}"), buffered=True)
        assert answer.status_code in (308, 404), (name, answer.status)

    assert read == []


PUBLIC = {"/", "/health", "/health/live", "/health/ready", "/ping", "/login", "/logout", "/callback", "/api/hello",
          "/auth/callback"}  # fmt: skip


def spellings(path: str) -> list[str]:
    """Routing to write a path that some server in front, or a router, might take for the same."""
    encoded = "".join(
        f"%{ord(char):02x}" if char.isalpha() and index % 3 == 0 else char for index, char in enumerate(path)
    )
    return [
        path, path.upper(), path.title(), f"{path}/", f"{path}//", f"//{path}", path.replace("/", "//"), f"/.{path}",
        f"/x/..{path}", f"{path}/.", f"{path}/..", f"{path}%00", f"{path}%20", f"{path}?x=1", f"{path};x=1", encoded,
        path.replace("/", "%2f"), f"/demo{path}", f"/demo/session{path}", f"/api{path}", f"/claude{path}", f"/v1{path}",
        path.removeprefix("/v1"), f"/api/codex{path}", f"/anthropic{path}",
    ]  # fmt: skip


def test_without_a_key_only_the_public_pages_answer(figure: Figure) -> None:
    server = ServerSettings(api_keys=("sk-client-key-1",))
    app = create_app(Settings(server=server, providers={"demo": ProviderSettings(kind="demo")}))
    client = Client(app)
    rules = {rule.rule.replace("<path:", "<").replace("<string:", "<") for rule in app.url_map.iter_rules()}
    paths = sorted({"/".join("x" if part.startswith("<") else part for part in rule.split("/")) for rule in rules})
    tried, answered = 0, []

    for path, method in itertools.product(paths, ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE")):
        for spelling in spellings(path):
            builder = EnvironBuilder(spelling, method=method, data=b"{}", content_type="application/json")
            tried += 1
            answer = client.open(builder)
            plain = answer.request.path
            public = any(plain.rstrip("/").endswith(each.rstrip("/")) for each in PUBLIC) or "event_logging" in plain
            if answer.status_code < 400 and method != "OPTIONS" and not public:
                answered.append((method, spelling, answer.status_code))

    assert answered == []
    figure("routes x methods x spellings without a key / answered", f"{tried} / 0", "0 answered")
