"""The search for planted secrets in everything that this room says, whatever goes wrong."""

from __future__ import annotations

import logging
import threading
import traceback
from collections.abc import Callable
from pathlib import Path

import pytest
import requests

from app.credentials.oauth.login_flow import LoginFailed, open_flow
from app.credentials.sources import open_source
from app.errors import CredentialUnavailable
from app.settings import ProviderSettings
from tests.credentials.issuer import Issuer, Reply
from tests.credentials.logins import LoginFile
from tests.credentials.test_renewal import settled, wait_until

ECHO: dict[str, Callable[[str], Reply | None]] = {
    "success": lambda token: None,
    "refused": lambda token: (400, {"error": "invalid_grant", "error_description": token}, {}),
    "token-as-code": lambda token: (400, {"error": token}, {}),
    "object": lambda token: (400, {"error": {"code": f"bad {token}", "message": token}}, {}),
    "server-error": lambda token: (500, {"detail": token}, {"retry-after": token}),
    "no-tokens": lambda token: (200, {"echo": token}, {}),
    "redirect": lambda token: (302, {}, {"location": f"http://127.0.0.1:1/{token}"}),
}


@pytest.mark.parametrize("way", ECHO)
def test_no_secret_is_in_any_log_error_or_repr(
    way: str, expired: LoginFile, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    planted = [*expired.pair, "code-secret"]
    issuer.hook = ECHO[way]
    source = expired.open()
    said = []

    try:
        credential = source.snapshot()
        planted += [credential.secret, issuer.newest]
        said += [repr(credential), str(credential)]
        source.refresh(credential)
    except CredentialUnavailable as error:
        said += [repr(error), repr(error.failure), *traceback.format_exception(error)]
    wait_until(settled)
    expired.path.write_text('{"half": "' + planted[1])
    source.poll()
    said += [repr(source.describe()), repr(source), repr(source.login.store), repr(vars(source)), caplog.text]

    assert not [secret for secret in planted for text in said if secret in text]


@pytest.mark.parametrize("kind", ["codex"])
def test_no_secret_of_a_login_in_the_browser_is_said(
    issuer: Issuer, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    settings = ProviderSettings(kind="codex", idcs_url=issuer.url)
    flow = open_flow(settings, {"XDG_RUNTIME_DIR": str(tmp_path)}, tmp_path, requests.Session)
    pending = flow.begin()
    # Not a literal where it is used: a traceback quotes the line.
    query = {"code": "code-secret", "state": pending.state}

    with pytest.raises(LoginFailed) as caught:
        flow.finish(query)

    said = [repr(pending), *traceback.format_exception(caught.value), caplog.text]
    planted = [pending.verifier, pending.state, "code-secret"]
    assert not [secret for secret in planted for text in said if secret in text]


def test_keys_and_tokens_of_the_environment_stay_out_of_reprs(tmp_path: Path) -> None:
    environ = {"ANTHROPIC_API_KEY": "planted-key-1", "OCA_TOKEN": "planted-token-2"}
    sources = [
        open_source(ProviderSettings(kind=kind), environ, tmp_path, requests.Session) for kind in ("anthropic", "oca")
    ]

    said = [repr(vars(source)) + repr(source.describe()) for source in sources if source is not None]

    assert len(said) == 2
    assert not any("planted" in text for text in said)


def test_no_thread_outlives_a_renewal(expired: LoginFile) -> None:
    before = set(threading.enumerate())

    expired.open().snapshot()

    wait_until(lambda: {thread for thread in threading.enumerate() if thread.name.startswith("dragoman")} <= before)
