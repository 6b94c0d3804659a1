"""Where renewed tokens are kept: files that can be written, files that cannot, and what is no file."""

from __future__ import annotations

import errno
import json
import os
import stat
import sys
import time
import types
from pathlib import Path
from typing import Any

import pytest
import requests

from app.credentials.formats import claude_file
from app.credentials.login_source import LoginSource
from app.credentials.oauth.endpoints import find_endpoints
from app.credentials.oauth.token_endpoint import TokenEndpoint
from app.credentials.renewal import renew_login
from app.credentials.sources import open_source
from app.credentials.stores.login_store import KeyringStore
from app.credentials.stores.private_files import runtime_folder, write_private
from app.credentials.stores.stored_login import StoredLogin
from app.errors import CredentialUnavailable
from app.settings import ProviderSettings
from tests.credentials.issuer import Issuer, make_jwt
from tests.credentials.logins import LoginFile
from tests.credentials.test_renewal import settled, wait_until


@pytest.fixture
def read_only(
    expired: LoginFile, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> LoginFile:
    """A login in a folder where nothing can be written, as a mounted Kubernetes secret is."""
    expired.folder = tmp_path_factory.mktemp("runtime")
    mkstemp, open_file = __import__("tempfile").mkstemp, os.open

    def refuse(folder: Path) -> None:
        if folder == expired.path.parent:
            raise OSError(errno.EROFS, "Read-only file system")

    def make_temporary(*arguments: Any, **options: Any) -> Any:
        refuse(Path(options["dir"]))
        return mkstemp(*arguments, **options)

    def open_writable(path: Any, flags: int, *arguments: Any, **options: Any) -> int:
        if flags & (os.O_WRONLY | os.O_RDWR):
            refuse(Path(os.fsdecode(path)).parent)
        return open_file(path, flags, *arguments, **options)

    monkeypatch.setattr("tempfile.mkstemp", make_temporary)
    monkeypatch.setattr(os, "open", open_writable)
    return expired


def test_a_read_only_login_is_renewed_all_the_same(
    read_only: LoginFile, issuer: Issuer, caplog: pytest.LogCaptureFixture
) -> None:
    source = read_only.open()

    got = source.snapshot()
    source.poll()

    assert source.snapshot() == got
    assert got.access_token in issuer.live
    assert read_only.pair[1] == "refresh-secret-0"
    assert [message for message in caplog.messages if "cannot be written" in message] == [
        f"{read_only.path} cannot be written (Read-only file system): renewed tokens are kept outside it."
    ]


def test_workers_share_what_a_read_only_login_became(read_only: LoginFile, issuer: Issuer) -> None:
    first = read_only.open().snapshot()

    second = read_only.open().snapshot()

    assert second.access_token == first.access_token
    assert issuer.uses == ["refresh-secret-0"]


def test_a_read_only_login_is_renewed_time_and_again(read_only: LoginFile, issuer: Issuer) -> None:
    read_only.open().snapshot()

    got = read_only.open(clock=lambda: time.time() + 7200).snapshot()

    assert got.access_token in issuer.live
    assert issuer.uses == ["refresh-secret-0", "refresh-secret-1"]


def test_with_no_place_to_write_at_all_tokens_stay_in_memory(
    read_only: LoginFile, issuer: Issuer, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr("app.credentials.sources.runtime_folder", lambda environ: None)
    source = read_only.open()

    got = source.snapshot()
    source.poll()

    assert source.snapshot() == got
    assert "kept only in memory" in caplog.text


def test_tokens_that_could_not_be_saved_are_saved_as_soon_as_they_can_be(
    read_only: LoginFile, issuer: Issuer, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = read_only.open()
    got = source.snapshot()
    monkeypatch.undo()

    source.poll()

    assert read_only.pair == (got.access_token, issuer.newest)


def test_a_file_that_cannot_be_replaced_is_overwritten(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "mounted.json"
    path.write_text("something longer than what follows")

    def refuse(*_: Any) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy")

    monkeypatch.setattr(os, "replace", refuse)

    write_private(path, b"new")

    assert path.read_bytes() == b"new"
    assert list(tmp_path.iterdir()) == [path]


def test_a_written_file_is_private_and_so_is_its_new_folder(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folder" / "login.json"

    write_private(path, b"data")

    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [stat.S_IMODE(folder.stat().st_mode) for folder in (path.parent, path.parent.parent)] == [0o700, 0o700]


def test_a_symbolic_link_to_a_login_stays_a_link(tmp_path: Path) -> None:
    target, link = tmp_path / "target.json", tmp_path / "link.json"
    target.write_text("old")
    link.symlink_to(target)

    write_private(link, b"new")

    assert link.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "login.json"
    path.write_text("old")

    def refuse(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", refuse)

    with pytest.raises(OSError, match="No space left"):
        write_private(path, b"new")

    assert path.read_text() == "old"
    assert list(tmp_path.iterdir()) == [path]


def test_a_runtime_folder_that_is_open_to_others_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tempfile.gettempdir", lambda: str(tmp_path / "missing"))
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    folder = runtime_folder(environ)
    assert folder is not None

    folder.chmod(0o755)
    opened = runtime_folder(environ)
    folder.rmdir()
    folder.symlink_to(tmp_path)

    assert opened is None
    assert runtime_folder(environ) is None


@pytest.mark.parametrize("kind", ["anthropic"])
def test_a_login_in_an_environment_variable_is_renewed_and_shared(issuer: Issuer, tmp_path: Path) -> None:
    creds = json.dumps({"accessToken": "old", "refreshToken": "refresh-secret-0", "expiresAt": 1})
    environ = {"CLAUDE_OAUTH_CREDS": creds, "XDG_RUNTIME_DIR": str(tmp_path)}
    settings = ProviderSettings(kind="anthropic", oauth_token_url=f"{issuer.url}/oauth/token")

    sources = [open_source(settings, environ, tmp_path, requests.Session) for _ in range(2)]

    assert {source.snapshot().access_token for source in sources if source} == issuer.live
    assert len(issuer.uses) == 1


@pytest.mark.parametrize("kind", ["oca"])
def test_a_login_with_only_a_refresh_token_gets_its_access_token(issuer: Issuer, tmp_path: Path) -> None:
    path = tmp_path / ".oca" / "refresh_token.json"
    path.parent.mkdir()
    path.write_text('{"refresh_token": "refresh-secret-0", "created_at": "2025-01-01T00:00:00.000Z"}')
    settings = ProviderSettings(kind="oca", idcs_url=issuer.url)

    sources = [open_source(settings, {"XDG_RUNTIME_DIR": str(tmp_path)}, tmp_path, requests.Session) for _ in range(3)]

    assert {source.snapshot().access_token for source in sources if source} == issuer.live
    assert issuer.uses == ["refresh-secret-0"]
    assert json.loads(path.read_text())["refresh_token"] == issuer.newest


@pytest.mark.parametrize("kind", ["oca"])
def test_a_dead_login_of_our_own_is_cleared_and_says_so(issuer: Issuer, tmp_path: Path) -> None:
    path = tmp_path / ".oca" / "refresh_token.json"
    path.parent.mkdir()
    path.write_text('{"refresh_token": "dead"}')
    settings = ProviderSettings(kind="oca", idcs_url=issuer.url)
    source = open_source(settings, {"XDG_RUNTIME_DIR": str(tmp_path)}, tmp_path, requests.Session)
    assert source is not None

    with pytest.raises(
        CredentialUnavailable, match=r"Refresh token expired\. Please visit /login to re-authenticate\."
    ):
        source.snapshot()

    assert not path.exists()
    source.poll()
    source.poll()
    with pytest.raises(CredentialUnavailable, match="Not authenticated"):
        source.snapshot()


@pytest.mark.parametrize("kind", ["oca"])
def test_a_dead_login_of_our_own_is_kept_while_its_access_token_is_valid(issuer: Issuer, tmp_path: Path) -> None:
    path = tmp_path / ".oca" / "refresh_token.json"
    path.parent.mkdir()
    path.write_text(json.dumps({"refresh_token": "dead", "access_token": make_jwt(30)}))
    now = time.time()
    settings = ProviderSettings(kind="oca", idcs_url=issuer.url)
    environ = {"XDG_RUNTIME_DIR": str(tmp_path)}
    source = open_source(settings, environ, tmp_path, requests.Session, clock=lambda: now, monotonic=lambda: now)
    assert source is not None
    source.snapshot()
    wait_until(settled)

    kept = path.exists()
    now += 60
    with pytest.raises(CredentialUnavailable, match="Refresh token expired"):
        source.snapshot()

    assert kept
    assert not path.exists()
    assert issuer.uses == ["dead"]


@pytest.mark.parametrize("kind", ["oca"])
def test_a_cool_down_outlives_the_attempts_to_save_what_a_read_only_login_became(
    read_only: LoginFile, issuer: Issuer
) -> None:
    read_only.open().snapshot()
    issuer.hook = lambda token: (429, {}, {"retry-after": "60"})
    later = read_only.open(clock=lambda: time.time() + 7200)
    with pytest.raises(CredentialUnavailable):
        later.snapshot()

    later.poll()
    with pytest.raises(CredentialUnavailable):
        read_only.open(clock=lambda: time.time() + 7200).snapshot()

    assert issuer.uses == ["refresh-secret-0", "refresh-secret-1"]


class _Keyring(types.ModuleType):
    def __init__(self, text: str | None) -> None:
        super().__init__("keyring")
        self.text = text
        self.errors = types.SimpleNamespace(KeyringError=RuntimeError)

    def get_password(self, service: str, account: str) -> str | None:
        return self.text

    def set_password(self, service: str, account: str, text: str) -> None:
        self.text = text


@pytest.mark.parametrize("kind", ["anthropic"])
def test_a_login_in_the_keyring_is_renewed_there(
    issuer: Issuer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = {"claudeAiOauth": {"accessToken": "old", "refreshToken": "refresh-secret-0", "expiresAt": 1}}
    keyring = _Keyring(json.dumps(old))
    monkeypatch.setitem(sys.modules, "keyring", keyring)
    login = StoredLogin("anthropic", KeyringStore("Claude Code-credentials", "me", tmp_path), claude_file)
    endpoint = TokenEndpoint(find_endpoints("anthropic", token_url=f"{issuer.url}/token"), requests.Session())
    source = LoginSource(
        login,
        lambda unwanted: renew_login(
            login, lambda tokens: endpoint.refresh_tokens(tokens.refresh_token or ""), unwanted
        ),
    )

    got = source.snapshot()

    assert claude_file.parse_login((keyring.text or "").encode()).access_token == got.access_token


def test_a_keyring_without_the_login_is_no_source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "keyring", _Keyring(None))

    assert open_source(ProviderSettings(kind="anthropic"), {}, tmp_path, requests.Session) is None


@pytest.mark.parametrize("kind", ["oca"])
def test_discovery_is_asked_once_and_its_address_used(expired: LoginFile, issuer: Issuer) -> None:
    source = expired.open()
    source.snapshot()
    expired.write(make_jwt(-60, number=5), issuer.newest)

    source.poll()
    source.snapshot()

    assert len(issuer.uses) == 2
    assert issuer.discoveries == 1


@pytest.mark.parametrize("kind", ["oca"])
def test_an_issuer_that_publishes_nothing_is_asked_at_the_usual_address(expired: LoginFile, issuer: Issuer) -> None:
    issuer.publishes = False

    assert expired.open().snapshot().access_token in issuer.live
