"""The rules of renewal: once, ahead of time, saved before use, and never a working login lost."""

from __future__ import annotations

import json
import stat
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from app.credentials.credential import Credential
from app.errors import CredentialUnavailable
from tests.credentials.issuer import Issuer, make_jwt
from tests.credentials.logins import LoginFile
from tests.support.clock import wait_until


def settled() -> bool:
    return not any(thread.name == "dragoman-renewal" for thread in threading.enumerate())


def test_parallel_requests_on_an_expired_token_refresh_once(expired: LoginFile, issuer: Issuer) -> None:
    source = expired.open()
    issuer.delay = 0.1

    with ThreadPoolExecutor(50) as pool:
        got = list(pool.map(lambda _: source.snapshot(), range(50)))

    assert issuer.uses == ["refresh-secret-0"]
    assert {credential.access_token for credential in got} == issuer.live
    assert expired.pair == (got[0].access_token, issuer.newest)


def test_two_gateways_on_one_login_refresh_once(expired: LoginFile, issuer: Issuer) -> None:
    one, other = expired.open(), expired.open()
    issuer.delay = 0.1

    with ThreadPoolExecutor(8) as pool:
        got = list(pool.map(lambda source: source.snapshot(), [one, other] * 4))

    assert issuer.uses == ["refresh-secret-0"]
    assert {credential.access_token for credential in got} == issuer.live


def test_the_rotated_token_keeps_the_rest_of_the_file(expired: LoginFile, issuer: Issuer) -> None:
    expired.open().snapshot()

    assert expired.content["otherKey"] == "keep"
    assert stat.S_IMODE(expired.path.stat().st_mode) == 0o600
    assert expired.pair[1] == issuer.newest


def test_what_another_program_writes_during_the_refresh_stays(expired: LoginFile, issuer: Issuer) -> None:
    def write_meanwhile(token: str) -> None:
        expired.write(*expired.pair, -60, added="by another program")

    issuer.hook = write_meanwhile

    expired.open().snapshot()

    assert expired.content["added"] == "by another program"
    assert expired.pair[1] == issuer.newest


def test_a_login_made_during_the_refresh_is_not_overwritten(expired: LoginFile, issuer: Issuer) -> None:
    theirs = make_jwt(number=99)
    issuer.hook = lambda token: expired.write(theirs, "their-refresh-token")

    got = expired.open().snapshot()

    assert got.access_token == theirs
    assert expired.pair == (theirs, "their-refresh-token")


def test_a_logout_during_the_refresh_is_not_undone(expired: LoginFile, issuer: Issuer) -> None:
    issuer.hook = lambda token: expired.path.unlink()

    with pytest.raises(CredentialUnavailable):
        expired.open().snapshot()

    assert not expired.path.exists()


def test_losing_the_race_for_a_single_use_token_takes_the_winners(expired: LoginFile, issuer: Issuer) -> None:
    def win_and_save_late(token: str) -> None:
        if token == "refresh-secret-0":
            pair = issuer.grant()
            threading.Timer(0.2, lambda: expired.write(*pair)).start()

    issuer.hook = win_and_save_late

    got = expired.open().snapshot()

    assert got.access_token in issuer.live
    assert expired.pair == (got.access_token, issuer.newest)


def test_a_refused_refresh_token_is_presented_once_by_all_processes(expired: LoginFile, issuer: Issuer) -> None:
    issuer.newest = "somebody-elses"

    for source in (expired.open(), expired.open()):
        for _ in range(2):
            with pytest.raises(CredentialUnavailable, match="dragoman login"):
                source.snapshot()

    assert issuer.uses == ["refresh-secret-0"]
    assert expired.pair[1] == "refresh-secret-0"


def test_a_new_login_ends_a_refusal(expired: LoginFile, issuer: Issuer) -> None:
    source = expired.open()
    issuer.hook = lambda token: (400, {"error": "invalid_grant"}, {})
    with pytest.raises(CredentialUnavailable):
        source.snapshot()
    access, refresh = issuer.grant()

    expired.write(access, refresh)

    assert source.snapshot().access_token == access


def test_a_429_of_the_token_endpoint_is_not_repeated_within_its_retry_after(expired: LoginFile, issuer: Issuer) -> None:
    issuer.hook = lambda token: (429, {"error": "slow_down"}, {"retry-after": "30"})

    for source in (expired.open(), expired.open()):
        for _ in range(3):
            with pytest.raises(CredentialUnavailable, match="next attempt") as caught:
                source.snapshot()

    assert len(issuer.uses) == 1
    assert caught.value.failure.http_status == 503
    assert expired.pair[1] == "refresh-secret-0"


def test_a_failed_refresh_is_tried_again_when_its_time_has_come(expired: LoginFile, issuer: Issuer) -> None:
    ahead = 0.0
    source = expired.open(clock=lambda: time.time() + ahead, monotonic=lambda: time.monotonic() + ahead)
    issuer.hook = lambda token: (500, {}, {})
    with pytest.raises(CredentialUnavailable):
        source.snapshot()
    issuer.hook = None
    ahead = 5.0

    got = source.snapshot()

    assert got.access_token in issuer.live


def test_a_token_about_to_expire_is_used_while_the_next_is_fetched(kind: str, tmp_path: Path, issuer: Issuer) -> None:
    login = LoginFile(kind, tmp_path, issuer, left=30)
    issuer.delay = 0.2
    old = login.pair[0]
    source = login.open()

    first = source.snapshot()

    assert first.access_token == old
    wait_until(lambda: source.snapshot().access_token in issuer.live)
    assert issuer.uses == ["refresh-secret-0"]


def test_a_transient_failure_keeps_a_token_that_is_still_valid(kind: str, tmp_path: Path, issuer: Issuer) -> None:
    login = LoginFile(kind, tmp_path, issuer, left=30)
    issuer.hook = lambda token: (503, {}, {"retry-after": "600"})
    source = login.open()
    source.snapshot()
    wait_until(settled)

    got = [source.snapshot() for _ in range(10)]

    assert {credential.access_token for credential in got} == {login.pair[0]}
    assert len(issuer.uses) == 1


def test_a_refusal_ahead_of_expiry_keeps_a_token_that_is_still_valid(kind: str, tmp_path: Path, issuer: Issuer) -> None:
    login = LoginFile(kind, tmp_path, issuer, left=30)
    issuer.newest = "somebody-elses"
    source = login.open()
    source.snapshot()
    wait_until(settled)

    got = source.snapshot()

    assert got.access_token == login.pair[0]


def test_a_valid_token_is_not_refreshed(kind: str, tmp_path: Path, issuer: Issuer) -> None:
    login = LoginFile(kind, tmp_path, issuer, left=3600)

    login.open().snapshot()

    assert issuer.uses == []


def test_a_token_that_lives_shortly_is_not_refreshed_on_each_request(expired: LoginFile, issuer: Issuer) -> None:
    issuer.lifetime = 120
    source = expired.open()

    for _ in range(20):
        source.snapshot()
    wait_until(settled)

    assert len(issuer.uses) == 1


def test_a_clock_that_is_hours_ahead_costs_one_refresh(expired: LoginFile, issuer: Issuer) -> None:
    issuer.skew = -7200
    source = expired.open()

    for _ in range(20):
        source.snapshot()
        source.poll()

    assert len(issuer.uses) == 1


def test_a_token_that_an_upstream_refuses_is_renewed_once(kind: str, tmp_path: Path, issuer: Issuer) -> None:
    login = LoginFile(kind, tmp_path, issuer, left=3600)
    source = login.open()
    failed = source.snapshot()
    issuer.delay = 0.1

    with ThreadPoolExecutor(20) as pool:
        got = list(pool.map(lambda _: source.refresh(failed), range(20)))

    assert issuer.uses == ["refresh-secret-0"]
    assert {credential.access_token for credential in got} == issuer.live
    assert got[0].generation == failed.generation + 1


def test_a_refused_token_that_its_file_has_replaced_needs_no_refresh(kind: str, tmp_path: Path, issuer: Issuer) -> None:
    login = LoginFile(kind, tmp_path, issuer, left=3600)
    source = login.open()
    failed = source.snapshot()
    access, refresh = issuer.grant()
    login.write(access, refresh)

    got = source.refresh(failed)

    assert got.access_token == access
    assert issuer.uses == []


def test_a_token_refused_right_after_its_grant_is_not_renewed_again(expired: LoginFile, issuer: Issuer) -> None:
    source = expired.open()
    new = source.snapshot()

    with pytest.raises(CredentialUnavailable, match="was refused"):
        source.refresh(new)

    assert len(issuer.uses) == 1


def test_a_request_waits_for_a_slow_issuer_only_so_long(expired: LoginFile, issuer: Issuer) -> None:
    issuer.delay = 0.5
    source = expired.open(wait_limit=0.05)

    with pytest.raises(CredentialUnavailable, match="still being renewed") as caught:
        source.snapshot()

    assert caught.value.failure.http_status == 503
    wait_until(settled)
    assert source.snapshot().access_token in issuer.live


def test_an_unreachable_issuer_is_named_without_the_token(expired: LoginFile, issuer: Issuer) -> None:
    source = expired.open()
    issuer.stop()

    with pytest.raises(CredentialUnavailable, match="cannot be reached") as caught:
        source.snapshot()

    assert "refresh-secret" not in str(caught.value)


def test_an_issuer_that_does_not_rotate_leaves_the_refresh_token(expired: LoginFile, issuer: Issuer) -> None:
    issuer.rotates = False

    got = expired.open().snapshot()

    assert expired.pair == (got.access_token, "refresh-secret-0")


def test_a_wrong_client_id_does_not_end_the_login(expired: LoginFile, issuer: Issuer) -> None:
    issuer.hook = lambda token: (401, {"error": "invalid_client"}, {})

    with pytest.raises(CredentialUnavailable, match=r"401 \(invalid_client\)"):
        expired.open().snapshot()

    issuer.hook = None
    assert not json.loads((expired.folder / note_name(expired)).read_text()).get("refused")


def test_tokens_go_out_in_the_encoding_that_the_issuer_wants(kind: str, expired: LoginFile, issuer: Issuer) -> None:
    expired.open().snapshot()

    assert issuer.encodings == [{"oca": "form", "anthropic": "json", "codex": "json"}[kind]]
    assert issuer.forms[0]["grant_type"] == "refresh_token"
    assert issuer.forms[0]["client_id"]
    assert "Authorization" not in issuer.headers[0]


def test_codex_is_renewed_when_its_owner_would_although_its_token_is_valid(tmp_path: Path) -> None:
    issuer = Issuer("codex")
    login = LoginFile("codex", tmp_path, issuer, left=86400)
    login.write(*login.pair, 86400, last_refresh="2026-01-01T00:00:00Z")
    source = login.open()

    source.snapshot()

    wait_until(lambda: source.snapshot().access_token in issuer.live)
    wait_until(settled)
    issuer.stop()
    assert len(issuer.uses) == 1


def test_an_api_key_in_place_of_a_login_is_never_renewed(tmp_path: Path) -> None:
    issuer = Issuer("codex")
    login = LoginFile("codex", tmp_path, issuer)
    login.path.write_text(json.dumps({"auth_mode": "apikey", "OPENAI_API_KEY": "sk-key-secret"}))
    source = login.open()

    got = source.snapshot()

    assert got == Credential(api_key="sk-key-secret", source=str(login.path), generation=1)
    with pytest.raises(CredentialUnavailable, match="was refused"):
        source.refresh(got)
    issuer.stop()


def note_name(login: LoginFile) -> str:
    return f".{login.path.name.lstrip('.')}.dragoman.json"
