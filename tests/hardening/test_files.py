"""Files that others may have put there, changed, or may read."""

from __future__ import annotations

import errno
import os
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from app.credentials.stores.login_store import FileStore
from app.credentials.stores.private_files import write_private
from app.errors import ConfigError, LedgerUnavailable
from app.gateway.client_access.tenants import open_tenant_marks, read_or_make_secret
from app.ledger import Ledger
from app.ledger.ledger import Collection
from app.server import worker
from app.server.gunicorn_settings import gunicorn_options
from app.settings import LedgerSettings, ServerSettings, Settings, load_settings
from app.settings.trust import check_found_file
from tests.support.gateway_process import bare_environ

PROGRAM = '[providers.claude_cli]\ncommand = ["/bin/sh"]\n'
NOBODY = 65534

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    return tmp_path


def load(folder: Path, **environ: str) -> Settings:
    return load_settings(None, {"HOME": str(folder / "home"), "XDG_CONFIG_HOME": str(folder / "config"), **environ}, {})


@pytest.mark.parametrize("mode", [0o664, 0o646, 0o666, 0o777, 0o620, 0o602])
def test_a_found_file_that_others_may_write_is_refused_by_its_path(folder: Path, mode: int) -> None:
    file = folder / "dragoman.toml"
    file.write_text("[server]\nport = 1\n")
    file.chmod(mode)

    with pytest.raises(ConfigError, match=r"dragoman\.toml is writable by other users"):
        load(folder)


@needs_root
@pytest.mark.parametrize(
    ("group", "members", "believed"),
    [("ana", [], True), ("ana", ["ana"], True), ("ana", ["ben"], False), ("staff", [], False)],
)
def test_a_users_own_group_may_write_where_nobody_else_is_in_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, group: str, members: list[str], believed: bool
) -> None:
    file = tmp_path / "dragoman.toml"
    file.write_text("")
    file.chmod(0o664)
    os.chown(file, 1234, 1234)
    monkeypatch.setattr("os.geteuid", lambda: 1234)
    monkeypatch.setattr("pwd.getpwuid", lambda _uid: SimpleNamespace(pw_name="ana", pw_gid=1234))
    monkeypatch.setattr("grp.getgrgid", lambda _gid: SimpleNamespace(gr_name=group, gr_mem=members))

    if believed:
        check_found_file(file)
    else:
        with pytest.raises(ConfigError, match="is writable by other users"):
            check_found_file(file)


@needs_root
def test_a_found_file_of_another_user_is_refused_by_its_path(folder: Path) -> None:
    file = folder / "dragoman.toml"
    file.write_text("[server]\nport = 1\n")
    os.chown(file, NOBODY, NOBODY)

    with pytest.raises(ConfigError, match=str(file)):
        load(folder)


def test_a_file_that_was_named_or_is_the_users_own_is_read(folder: Path) -> None:
    file = folder / "dragoman.toml"
    file.write_text("[server]\nport = 1234\n")
    file.chmod(0o664)

    assert load(folder, DRAGOMAN_CONFIG=str(file)).server.port == 1234
    file.chmod(0o640)
    assert load(folder).server.port == 1234


def test_a_program_runs_for_a_found_file_only_if_it_is_the_users_own(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = folder / "dragoman.toml"
    file.write_text(PROGRAM)
    file.chmod(0o644)
    assert load(folder).providers["claude_cli"].command

    if os.geteuid() != 0:
        pytest.skip("a file of root is only there for root to make")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(ConfigError, match="its programs are not run") as refused:
        load(folder)
    assert "command" in str(refused.value)


def test_a_socket_needs_a_key_and_is_not_for_everybody(folder: Path) -> None:
    with pytest.raises(ConfigError, match="socket"):
        load(folder, DRAGOMAN__SERVER__HOST="unix:/tmp/x.sock")

    keyed = load(folder, DRAGOMAN__SERVER__HOST="unix:/tmp/x.sock", PROXY_API_KEY="sk-client-key")
    assert gunicorn_options(keyed.server)["umask"] == 0o117
    narrow = ServerSettings(host="unix:/tmp/x.sock", socket_mode="600", allow_open=True)
    assert gunicorn_options(narrow)["umask"] == 0o177


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    opened = Ledger(LedgerSettings(url=f"sqlite:///{tmp_path}/ledger.sqlite3"))
    yield opened
    opened.close()


def test_lax_files_of_the_ledger_are_closed(ledger: Ledger, tmp_path: Path) -> None:
    for name in ("ledger.sqlite3", "ledger.sqlite3-wal", "ledger.sqlite3-shm"):
        (tmp_path / name).touch()
        (tmp_path / name).chmod(0o666)

    ledger.responses.put("t", "resp_1", b"words")

    assert {mode_of(file) for file in tmp_path.glob("ledger*")} == {0o600}


def test_what_was_deleted_is_in_no_file_any_more(ledger: Ledger, tmp_path: Path) -> None:
    secret = os.urandom(600)  # cannot be compressed, so it would be found
    ledger.responses.put("t", "resp_1", secret)
    assert any(secret in file.read_bytes() for file in tmp_path.glob("ledger*"))

    ledger.responses.delete("t", "resp_1")

    assert not any(secret[100:140] in file.read_bytes() for file in tmp_path.glob("ledger*"))


@pytest.mark.parametrize("name", ["ledger.sqlite3", "tenants.key"])
def test_a_named_pipe_among_our_files_is_no_file_and_holds_up_nobody(name: str, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / name)
    failures: list[Exception] = []

    def use() -> None:
        try:
            if name == "tenants.key":
                read_or_make_secret(tmp_path / name)
            Ledger(LedgerSettings(url=f"sqlite:///{tmp_path}/ledger.sqlite3")).responses.put("t", "resp_1", b"words")
        except (LedgerUnavailable, ValueError) as failure:
            failures.append(failure)

    using = threading.Thread(target=use, daemon=True)
    using.start()
    using.join(10)

    assert len(failures) == 1


def test_a_lax_login_of_our_own_is_closed_and_those_of_others_stay(tmp_path: Path) -> None:
    own, other = tmp_path / "own.json", tmp_path / "other.json"
    for file in (own, other):
        file.write_text("{}")
        file.chmod(0o644)

    FileStore((own,), own=own).read()
    FileStore((other,), own=own).read()

    assert (mode_of(own), mode_of(other)) == (0o600, 0o644)


def test_the_mark_of_a_tenant_is_keyed_by_a_file_that_is_nobody_elses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    marks = []
    for name in ("one", "two", "one"):
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / name))
        marks.append(open_tenant_marks(Settings()).mark("sk-client-key"))
    made = tmp_path / "one" / "dragoman" / "tenants.key"
    made.chmod(0o644)
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "one"))
    open_tenant_marks(Settings())

    assert marks[0] == marks[2] != marks[1]
    assert mode_of(made) == 0o600


def test_hosts_that_share_a_database_give_a_tenant_the_same_mark(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = Settings(ledger=LedgerSettings(url="postgresql://u:password@db/x"))
    marks = set()
    for name in ("one", "two"):
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / name))
        marks.add(open_tenant_marks(shared).mark("sk-client-key"))

    assert len(marks) == 1


def fill(shelf: Collection, tenant: str, count: int) -> None:
    for number in range(count):
        shelf.put(tenant, f"resp_{tenant}_{number}", os.urandom(20_000))


def test_a_tenant_who_fills_the_ledger_pushes_out_its_own(tmp_path: Path) -> None:
    now = [1_000_000.0]
    ledger = Ledger(LedgerSettings(url=f"sqlite:///{tmp_path}/ledger.sqlite3", max_mb=1), lambda: now[0])
    fill(ledger.responses, "anna", 5)
    for _ in range(6):
        now[0] += 61
        fill(ledger.responses, "bert", 40)

    assert all(ledger.responses.get("anna", f"resp_anna_{number}") for number in range(5))
    ledger.close()


PROVIDER = '[providers.up]\nkind = "openai"\nbase_url = "http://127.0.0.1:9/v1"\napi_key = "sk-up-12345678"\n'
HOSTILE = {
    "a section that is a number": "server = 1\n" + PROVIDER,
    "providers that are a list": "providers = []\n",
    "keys that are text": 'keys = "x"\n' + PROVIDER,
    "a database with an open bracket": PROVIDER + '[ledger]\nurl = "postgresql://u:secret-pass-1@[::1:99999/x"\n',
    "a database with an odd port": PROVIDER + '[ledger]\nurl = "postgresql://u:secret-pass-1@a:99999/x"\n',
    "a redis with an open bracket": PROVIDER + '[shared]\nredis = "redis://:secret-pass-1@[bad"\n',
    "a redis with an odd port": PROVIDER + '[shared]\nredis = "redis://:secret-pass-1@a:x"\n',
    "UTF-16": PROVIDER.encode("utf-16"),
    "a zero byte": PROVIDER.encode() + b"\0",
    "tables in tables": "a=" + "{a=" * 2000 + "1" + "}" * 2000,
    "dots": ".".join("a" * 3000) + "=1",
    "numbers of other bases": "[server]\nport = 0xffffffffffffffffffff\n" + PROVIDER,
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_file_is_refused_in_one_sentence(name: str, tmp_path: Path) -> None:
    text = HOSTILE[name]
    (path := tmp_path / "dragoman.toml").write_bytes(text if isinstance(text, bytes) else text.encode())

    with pytest.raises(ConfigError) as refused:
        load_settings(path, {"HOME": str(tmp_path)}, {})

    assert "secret-pass" not in str(refused.value)
    assert len(str(refused.value)) < 1000


def test_a_file_of_any_size_is_not_read(tmp_path: Path) -> None:
    (path := tmp_path / "dragoman.toml").write_text(PROVIDER)
    os.truncate(path, 1 << 40)

    with pytest.raises(ConfigError, match="larger than 8 MiB"):
        load_settings(path, {"HOME": str(tmp_path)}, {})


@pytest.mark.parametrize("kind", ["a folder", "a pipe", "a loop", "a link to nowhere", "a device"])
def test_what_is_no_file_is_none(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "dragoman.toml"
    if kind == "a folder":
        path.mkdir()
    elif kind == "a pipe":
        os.mkfifo(path)
    else:
        path.symlink_to({"a loop": path, "a link to nowhere": tmp_path / "x", "a device": Path("/dev/zero")}[kind])

    with pytest.raises(ConfigError, match=r"does not exist|cannot be read"):
        load_settings(path, {"HOME": str(tmp_path)}, {})


def test_what_gevent_would_print_goes_through_the_log(caplog: pytest.LogCaptureFixture) -> None:
    fault = OSError("foreign words")

    worker._log_fault("a greenlet", OSError, fault, None)
    worker._log_fault(("a pool of threads", "its work"), OSError, fault, None)

    assert [record.getMessage() for record in caplog.records] == ["a greenlet failed"]
    assert caplog.records[0].exc_info == (OSError, fault, None)


@pytest.mark.parametrize("command", [("keys", "create", "ci"), ("config", "init")])
def test_nothing_that_is_created_can_be_written_by_others(command: tuple[str, ...], tmp_path: Path) -> None:
    home = tmp_path / "home"
    environ = bare_environ(home, XDG_RUNTIME_DIR=str(tmp_path / "run"))

    subprocess.run(("sh", "-c", 'umask 000; exec dragoman "$@"', "sh", *command), env=environ, cwd=home, check=True)

    created = list(home.rglob("*"))
    assert created
    assert [path for path in created if mode_of(path) & 0o022] == []


def test_a_login_that_can_only_be_overwritten_survives_a_full_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = tmp_path / "mounted.json"
    path.write_bytes(b'{"old": true}')

    def fail(number: int) -> Callable[..., None]:
        def failing(*_: object) -> None:
            raise OSError(number, os.strerror(number))

        return failing

    monkeypatch.setattr(os, "replace", fail(errno.EBUSY))
    monkeypatch.setattr(os, "posix_fallocate", fail(errno.ENOSPC))
    with pytest.raises(OSError, match="No space left"):
        write_private(path, b'{"new": true}' * 1000)

    assert path.read_bytes() == b'{"old": true}'
