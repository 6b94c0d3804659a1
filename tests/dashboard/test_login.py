"""The web pages of the login, with an issuer on loopback and without a browser."""

from __future__ import annotations

import json
import socket
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qsl, urlsplit

import pytest
import requests
from flask.testing import FlaskClient

from app import create_app
from app.errors import CredentialUnavailable
from app.settings import ProviderSettings, ServerSettings, Settings
from tests.credentials.issuer import Issuer
from tests.support.clock import wait_until

OWN_PORT = "localhost:8669"


@pytest.fixture
def issuer() -> Iterator[Issuer]:
    issuer = Issuer("oca")
    yield issuer
    issuer.stop()


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    return tmp_path


Serve = Callable[..., FlaskClient]


@pytest.fixture
def serve(home: Path, issuer: Issuer) -> Iterator[Serve]:
    """serve(api_keys=("k",), codex={…}): a client of a gateway with an OCA provider, and those that are named."""
    opened = []

    def make(api_keys: tuple[str, ...] = (), **providers: Any) -> FlaskClient:
        tables = {"oca": {"idcs_url": issuer.url}, **providers}
        settings = Settings(
            server=ServerSettings(api_keys=api_keys, allowed_hosts=("gateway.example",)),
            providers={name: ProviderSettings(**{"kind": name, **table}) for name, table in tables.items()},
            source=home / "dragoman.toml",
        )
        app = create_app(settings)
        opened.append(app)
        return app.test_client()

    yield make
    for app in opened:
        app.runtime.services.transport.close()


def saved(home: Path) -> Any:
    return json.loads((home / ".oca" / "refresh_token.json").read_text())


def query_of(url: str) -> dict[str, str]:
    return dict(parse_qsl(urlsplit(url).query))


def begin(client: FlaskClient, host: str = OWN_PORT) -> str:
    """The address that a browser is sent to."""
    response = client.get("/login", headers={"host": host})
    assert response.status_code == 302, response.text
    return str(response.headers["location"])


def come_back(client: FlaskClient, issuer: Issuer, begun: str) -> Any:
    """The browser after its user said yes."""
    return client.get("/callback?" + urlsplit(issuer.authorize(query_of(begun))).query, headers={"host": OWN_PORT})


# ---- logging in


def test_the_browser_is_sent_to_the_issuer_with_every_parameter(serve: Serve, issuer: Issuer) -> None:
    begun = begin(serve())

    assert begun.startswith(f"{issuer.url}/oauth2/v1/authorize?")
    query = query_of(begun)
    assert set(query) == {
        *("client_id", "response_type", "redirect_uri", "scope", "state", "nonce"),
        *("code_challenge", "code_challenge_method"),
    }
    assert query["redirect_uri"] == "http://localhost:8669/callback"


def test_a_browser_that_comes_back_ends_the_login_and_requests_use_it(serve: Serve, issuer: Issuer, home: Path) -> None:
    client = serve()

    response = come_back(client, issuer, begin(client))

    assert response.status_code == 200
    assert "Login Successful!" in response.text
    assert saved(home)["refresh_token"] == issuer.newest
    health = client.get("/health").get_json()
    assert (health["status"], health["authenticated"]) == ("healthy", True)


def test_a_new_login_is_used_at_once_in_place_of_one_that_is_still_valid(serve: Serve, issuer: Issuer) -> None:
    client = serve()
    come_back(client, issuer, begin(client))
    source = client.application.runtime.services.providers["oca"].source  # type: ignore[attr-defined]
    before = source.snapshot().access_token

    come_back(client, issuer, begin(client))

    assert source.snapshot().access_token != before


def test_a_login_that_one_worker_began_is_finished_by_another(serve: Serve, issuer: Issuer, home: Path) -> None:
    one, other = serve(), serve()

    response = come_back(other, issuer, begin(one))

    assert response.status_code == 200
    assert saved(home)


def test_a_state_is_good_for_one_callback(serve: Serve, issuer: Issuer) -> None:
    client = serve()
    begun = begin(client)
    come_back(client, issuer, begun)

    response = come_back(client, issuer, begun)

    assert response.status_code == 400
    assert "Invalid or expired state" in response.text


OUTCOMES = {
    "denied": ("error=access_denied&error_description=<script>x</script>", "Authentication Failed"),
    "nothing": ("", "Invalid Callback"),
    "no code": ("state=s", "Invalid Callback"),
    "no state": ("code=c", "Invalid Callback"),
    "unknown state": ("code=c&state=<script>", "Invalid or expired state"),
}


@pytest.mark.parametrize(("query", "said"), OUTCOMES.values(), ids=OUTCOMES)
def test_a_callback_that_is_no_login_says_why_escaped(serve: Serve, query: str, said: str) -> None:
    response = serve().get(f"/callback?{query}")

    assert response.status_code == 400
    assert said in response.text
    assert "<script>" not in response.text


def test_an_issuer_that_gives_no_refresh_token_is_said_to(serve: Serve, issuer: Issuer, home: Path) -> None:
    client = serve()
    begun = begin(client)
    issuer.rotates, issuer.newest = False, ""

    response = come_back(client, issuer, begun)

    assert "No refresh token received" in response.text
    assert not (home / ".oca").exists()


def test_pages_are_for_no_cache_no_frame_and_no_other_site(serve: Serve) -> None:
    headers = serve().get("/callback").headers

    assert headers["cache-control"] == "no-store"
    assert headers["referrer-policy"] == "same-origin"
    assert "frame-ancestors 'none'" in headers["content-security-policy"]


def test_a_server_on_another_port_listens_at_a_registered_one(serve: Serve, issuer: Issuer, home: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client = serve(oca={"idcs_url": issuer.url, "redirect_uris": (f"http://localhost:{port}/callback",)})
    begun = begin(client, "localhost:8080")

    again = begin(client, "localhost:8080")
    page = requests.get(begun, timeout=5)

    assert "Login Successful!" in page.text
    assert query_of(again)["redirect_uri"] == query_of(begun)["redirect_uri"]
    assert saved(home)["refresh_token"] == issuer.newest
    wait_until(lambda: is_free(port))


def is_free(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) != 0


@pytest.mark.parametrize(("host", "address"), [("gateway.example", "/login"), (OWN_PORT, "/login?paste")])
def test_a_browser_on_another_machine_pastes_where_it_ended(
    serve: Serve, issuer: Issuer, home: Path, host: str, address: str
) -> None:
    client = serve()
    page = client.get(address, headers={"host": host}).text
    begun = page.split("<main", 1)[1].split('href="', 1)[1].split('"', 1)[0].replace("&amp;", "&")
    state = page.split('name="state" value="', 1)[1].split('"', 1)[0]

    response = client.post("/callback", data={"state": state, "pasted": issuer.authorize(query_of(begun))})

    assert "Login Successful!" in response.text
    assert saved(home)["refresh_token"] == issuer.newest


def test_a_pasted_code_alone_belongs_to_the_page_it_was_pasted_in(serve: Serve, issuer: Issuer) -> None:
    client = serve()
    page = client.get("/login?paste").text
    begun = page.split("<main", 1)[1].split('href="', 1)[1].split('"', 1)[0].replace("&amp;", "&")

    response = client.post(
        "/callback",
        data={"state": query_of(begun)["state"], "pasted": query_of(issuer.authorize(query_of(begun)))["code"]},
    )

    assert "Login Successful!" in response.text


def test_of_several_providers_one_is_chosen(serve: Serve, issuer: Issuer) -> None:
    client = serve(codex={"idcs_url": issuer.url})

    page = client.get("/login")
    chosen = client.get("/login?provider=codex", headers={"host": "localhost:1455"})
    unknown = client.get("/login?provider=<b>")

    assert [f'value="{name}"' in page.text for name in ("oca", "codex", "claude")] == [True, True, False]
    assert query_of(chosen.headers["location"])["redirect_uri"] == "http://localhost:1455/auth/callback"
    assert unknown.status_code == 404
    assert "<b>" not in unknown.text


# ---- who may


def test_a_gateway_with_client_keys_asks_for_one_first(serve: Serve) -> None:
    client = serve(api_keys=("sk-client",))
    host = {"host": OWN_PORT}

    asked = client.get("/login", headers=host)
    wrong = client.post("/login", data={"provider": "oca", "key": "sk-wrong"}, headers=host)
    right = client.post("/login", data={"provider": "oca", "key": "sk-client"}, headers=host)

    assert asked.status_code == 200
    assert 'type="password"' in asked.text
    assert wrong.status_code == 401
    assert right.status_code == 302


def test_a_gateway_with_client_keys_logs_nobody_out_without_one(serve: Serve, issuer: Issuer, home: Path) -> None:
    client = serve(api_keys=("sk-client",))
    begun = client.get("/login", headers={"host": OWN_PORT, "x-api-key": "sk-client"}).headers["location"]
    come_back(client, issuer, begun)

    refused = client.post("/logout", data={"provider": "oca"})

    assert refused.status_code == 401
    assert saved(home)


FOREIGN: list[dict[str, str]] = [
    {"origin": "https://evil.example"},
    {"origin": "null"},
    {"sec-fetch-site": "cross-site"},
    {"sec-fetch-site": "same-site", "origin": "http://localhost"},
]


@pytest.mark.parametrize("headers", FOREIGN)
@pytest.mark.parametrize("path", ["/login", "/logout", "/callback"])
def test_forms_of_other_sites_are_refused(serve: Serve, path: str, headers: dict[str, str]) -> None:
    response = serve().post(path, data={"provider": "oca"}, headers=headers)

    assert response.status_code == 403


@pytest.mark.parametrize("headers", [{"origin": "http://localhost"}, {"sec-fetch-site": "same-origin"}])
def test_a_form_of_our_own_logs_out(serve: Serve, issuer: Issuer, home: Path, headers: dict[str, str]) -> None:
    client = serve()
    come_back(client, issuer, begin(client))
    source = client.application.runtime.services.providers["oca"].source  # type: ignore[attr-defined]
    source.snapshot()

    asked = client.get("/logout")
    kept = (home / ".oca" / "refresh_token.json").exists()
    response = client.post("/logout", data={"provider": "oca"}, headers=headers)

    assert (asked.status_code, kept) == (200, True)
    assert "Logged Out" in response.text
    assert not (home / ".oca" / "refresh_token.json").exists()
    assert client.get("/health").get_json()["status"] == "unauthenticated"
    with pytest.raises(CredentialUnavailable, match="visit /login"):
        source.snapshot()


# ---- health


def test_health_tells_of_each_provider_and_paths_only_to_those_with_a_key(serve: Serve, issuer: Issuer) -> None:
    client = serve(api_keys=("sk-client",), anthropic={"api_key": "sk-ant-planted"}, demo={})
    client.get("/login", headers={"host": OWN_PORT, "x-api-key": "sk-client"})

    public = client.get("/health")
    full = client.get("/health", headers={"x-api-key": "sk-client"})

    providers = public.get_json()["providers"]
    assert public.get_json()["status"] == "degraded"
    assert providers["oca"] == {"kind": "oca", "authenticated": False}
    assert providers["anthropic"] == {"kind": "anthropic", "authenticated": True}
    assert providers["demo"] == {"kind": "demo"}
    assert full.get_json()["providers"]["oca"]["token_storage"].endswith("refresh_token.json")
    assert "dragoman login oca" in full.get_json()["providers"]["oca"]["problem"]
    assert "planted" not in full.text
