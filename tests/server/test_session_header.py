"""The one field with an underscore that means something."""

from __future__ import annotations

from app.server.connections.request_parser import environ_key


def test_the_session_of_codex_arrives() -> None:
    assert environ_key(b"session_id") == environ_key(b"session-id") == "HTTP_SESSION_ID"


def test_no_other_field_passes_for_one_with_a_hyphen() -> None:
    assert [environ_key(name) for name in (b"x_api_key", b"x_forwarded_for", b"session_id_", b"x_session_id")] == [
        None
    ] * 4
