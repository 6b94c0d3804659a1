"""Where the operations of a provider live, by the base URL that its user has written down."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from app.providers.provider import Operation, Provider
from app.providers.registry import build_providers
from app.settings import ProviderSettings
from app.transport import Transport, TransportSettings

AZURE = "https://r.openai.azure.com"
NONE = "http://127.0.0.1:9"


def provider(kind: str, base_url: str, **more: Any) -> Provider:
    settings = ProviderSettings(kind=kind, base_url=base_url, **more)
    return build_providers({"p": settings}, {}, Path("/nonexistent"), Transport(TransportSettings()))["p"]


@pytest.mark.parametrize(
    ("base_url", "expected"),
    [
        ("http://h/v1", "http://h/v1/chat/completions"),
        ("http://h/v1/", "http://h/v1/chat/completions"),
        ("http://h/v1/chat/completions", "http://h/v1/chat/completions"),
        ("http://h/v1/chat/completions/", "http://h/v1/chat/completions"),
        ("http://h/v1?key=1", "http://h/v1/chat/completions?key=1"),
        ("http://localhost:11434", "http://localhost:11434/v1/chat/completions"),
        ("http://localhost:1234/", "http://localhost:1234/v1/chat/completions"),
        ("https://openrouter.ai", "https://openrouter.ai/api/v1/chat/completions"),
        ("https://api.openai.com", "https://api.openai.com/v1/chat/completions"),
        ("https://api.deepseek.com", "https://api.deepseek.com/chat/completions"),
        ("http://unknown.example", "http://unknown.example/v1/chat/completions"),
        (AZURE, f"{AZURE}/openai/deployments/m/chat/completions?api-version=2024-10-21"),
        (f"{AZURE}/openai/", f"{AZURE}/openai/deployments/m/chat/completions?api-version=2024-10-21"),
        (f"{AZURE}/openai/v1", f"{AZURE}/openai/v1/chat/completions"),
        (f"{AZURE}/openai/deployments/d", f"{AZURE}/openai/deployments/d/chat/completions?api-version=2024-10-21"),
        (
            f"{AZURE}/openai/deployments/d/chat/completions?api-version=2025-01-01",
            f"{AZURE}/openai/deployments/d/chat/completions?api-version=2025-01-01",
        ),
    ],
)
def test_any_part_of_the_url_of_chat_will_do(base_url: str, expected: str) -> None:
    assert provider("openai", base_url).url("generate", "m") == expected


@pytest.mark.parametrize("model", ["../../other", "a/b", "m?x=1", "m#x", "a b"])
def test_a_models_name_cannot_leave_its_deployment(model: str) -> None:
    url = provider("openai", AZURE).url("generate", model)

    place = url.removeprefix(f"{AZURE}/openai/deployments/").removesuffix("/chat/completions?api-version=2024-10-21")
    assert not set(place) & set("/?# ")


def test_a_classic_deployment_takes_its_key_in_a_header_of_its_own() -> None:
    classic, newer = provider("openai", AZURE, api_key="k"), provider("openai", f"{AZURE}/openai/v1", api_key="k")

    assert classic.auth_headers(classic.credential(), {}) == {"api-key": "k"}
    assert newer.auth_headers(newer.credential(), {}) == {"authorization": "Bearer k"}


@pytest.mark.parametrize(
    ("operation", "path"),
    [("generate", "/v1/messages"), ("count_tokens", "/v1/messages/count_tokens"), ("models", "/v1/models")],
)
@pytest.mark.parametrize("written", ["", "/", "/v1", "/v1/", "/v1/messages"])
def test_any_part_of_the_url_of_messages_will_do(operation: Operation, path: str, written: str) -> None:
    assert provider("anthropic", f"http://h/below{written}").url(operation, "m") == f"http://h/below{path}"


@pytest.mark.parametrize("written", ["", "/", "/v1", "/v1/", "/chat/completions"])
def test_any_part_of_the_url_of_oca_will_do(written: str) -> None:
    oca = provider("oca", f"{NONE}/litellm{written}", access_token="t")

    assert oca.url("generate", "m") == f"{NONE}/litellm/chat/completions"
    assert oca.url("models", "") == f"{NONE}/litellm/v1/model/info"
