"""Who may ask: client keys in any header, and names that are ours."""

from __future__ import annotations

import pytest

from app.errors import Forbidden, Unauthorized
from app.gateway.client_access.access import Access
from app.settings import ServerSettings

KEYED = Access(ServerSettings(api_keys=("one", "two")))
OPEN = Access(ServerSettings())


@pytest.mark.parametrize(
    "headers",
    [
        {"authorization": "Bearer one"},
        {"authorization": "bearer two"},
        {"x-api-key": "one"},
        {"api-key": "two"},
        {"authorization": "Bearer wrong", "x-api-key": "one"},
        {"authorization": "Bearer one", "x-api-key": "wrong"},
    ],
)
def test_any_header_with_any_valid_key_opens(headers: dict[str, str]) -> None:
    KEYED.check_key(headers)


@pytest.mark.parametrize(
    "headers", [{}, {"authorization": "Bearer "}, {"x-api-key": "wrong"}, {"authorization": "one"}]
)
def test_without_a_valid_key_nothing_opens(headers: dict[str, str]) -> None:
    with pytest.raises(Unauthorized, match="key"):
        KEYED.check_key(headers)


def test_without_configured_keys_everybody_on_this_machine_may_ask() -> None:
    OPEN.check_key({})


@pytest.mark.parametrize("host", ["localhost", "localhost:8080", "127.0.0.1:1", "[::1]:8080", "LOCALHOST"])
def test_a_local_server_answers_to_local_names(host: str) -> None:
    OPEN.check_host(host)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", ""])
def test_a_local_server_answers_to_no_other_name(host: str) -> None:
    with pytest.raises(Forbidden):
        OPEN.check_host(host)


def test_a_configured_name_is_ours() -> None:
    access = Access(ServerSettings(allowed_hosts=("gateway.lan",)))

    access.check_host("gateway.lan:8080")
    with pytest.raises(Forbidden):
        access.check_host("other.lan")


def test_the_gateways_own_key_is_shown_to_no_provider() -> None:
    headers = {"authorization": "Bearer one", "x-api-key": "one", "cookie": "a=b", "anthropic-version": "2023-06-01"}

    assert KEYED.client_headers(headers) == {"anthropic-version": "2023-06-01"}


def test_a_clients_own_credential_is_left_for_providers_that_have_none() -> None:
    headers = {"authorization": "Bearer theirs", "cookie": "a=b"}

    assert OPEN.client_headers(headers) == {"authorization": "Bearer theirs"}
