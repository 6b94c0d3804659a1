"""A gateway below a path of its own: whatever names a path is moved there, and nothing else is."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient

from app import create_app
from app.blueprints.root_path import RootPath
from app.errors import ConfigError
from app.settings import load_settings

ROOT = "/team/llm"
BROWSER = {"accept": "text/html", "host": "localhost"}
ASK = {"model": "demo/demo", "max_tokens": 50, "messages": [{"role": "user", "content": "Hello"}]}


@pytest.fixture
def client(tmp_path_factory: pytest.TempPathFactory) -> FlaskClient:
    folder = tmp_path_factory.mktemp("root")
    config = folder / "dragoman.toml"
    config.write_text(f'[server]\nroot_path = "{ROOT}"\napi_keys = ["a-key-for-the-pages"]\ndemo = true\n')
    config.chmod(0o600)
    app = create_app(load_settings(config, {"HOME": str(folder)}, {}))
    return app.test_client()


@pytest.mark.parametrize("prefix", [ROOT, ""], ids=["handed on", "taken off"])
@pytest.mark.parametrize("path", ["/v1/messages", "/messages", "/demo/v1/messages", "/anthropic/v1/messages"])
def test_a_request_is_answered_whether_the_proxy_keeps_the_prefix_or_not(
    client: FlaskClient, prefix: str, path: str
) -> None:
    reply = client.post(prefix + path, json=ASK, headers={"x-api-key": "a-key-for-the-pages"})

    assert reply.status_code == 200
    assert reply.json is not None
    assert "Hello" in reply.json["content"][-1]["text"]


def test_a_browser_is_led_to_the_pages_below_the_prefix(client: FlaskClient) -> None:
    reply = client.get(ROOT, headers=BROWSER)

    assert reply.status_code == 303
    assert reply.headers["location"] == f"{ROOT}/_/"


def test_each_link_and_each_cookie_of_a_page_is_below_the_prefix(client: FlaskClient) -> None:
    reply = client.get(f"{ROOT}/_/sign-in", headers=BROWSER)
    links = re.findall(r'(?:href|src|action)="([^"]*)"', reply.text)

    assert len(links) >= 2
    assert all(link.startswith((f"{ROOT}/", "#", "data:")) for link in links)
    assert f"Path={ROOT}/_/" in reply.headers["set-cookie"]
    assert int(reply.headers["content-length"]) == len(reply.data)


def test_what_a_page_links_to_is_there(client: FlaskClient) -> None:
    page = client.get(f"{ROOT}/_/sign-in", headers=BROWSER).text

    (style,) = re.findall(r'<link rel="stylesheet" href="([^"]*)"', page)

    with client.get(style, headers=BROWSER) as reply:
        assert reply.status_code == 200


def test_a_path_that_only_begins_like_the_prefix_is_not_below_it(client: FlaskClient) -> None:
    assert client.get(f"{ROOT}s/v1/models", headers=BROWSER).status_code in (401, 404)


@pytest.mark.parametrize(
    ("name", "value", "moved"),
    [
        ("Location", "/_/", "/p/_/"),
        ("Location", "https://issuer.example/authorize?next=/", "https://issuer.example/authorize?next=/"),
        ("Location", "//elsewhere.example/", "//elsewhere.example/"),
        ("Set-Cookie", "a=b; Path=/_/; Secure", "a=b; Path=/p/_/; Secure"),
        ("Set-Cookie", "a=b", "a=b"),
        ("X-Other", "/x", "/x"),
    ],
)
def test_only_headers_that_name_our_paths_are_moved(name: str, value: str, moved: str) -> None:
    sent: list[tuple[str, str]] = []
    app = RootPath(lambda environ, start: (start("200 OK", [(name, value)]), [b"{}"])[1], "/p")

    list(app({"PATH_INFO": "/p/x"}, lambda status, headers, exc_info=None: sent.extend(headers)))  # type: ignore[arg-type,return-value]

    assert sent == [(name, moved)]


@pytest.mark.parametrize("root", ["llm", "/", "/llm/", "//llm", "/a b", "/..", "/a/../b", "/a?b"])
def test_a_prefix_that_is_none_is_refused_by_name(tmp_path_factory: pytest.TempPathFactory, root: str) -> None:
    config = tmp_path_factory.mktemp("bad") / "dragoman.toml"
    config.write_text(f'[server]\nroot_path = "{root}"\n')
    config.chmod(0o600)

    with pytest.raises(ConfigError, match=r"server\.root_path"):
        load_settings(config, {"HOME": str(config.parent)}, {})
