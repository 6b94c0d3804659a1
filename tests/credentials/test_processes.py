"""Several processes on one login, and processes that die at the worst moment."""

from __future__ import annotations

import json
import stat
import subprocess
import sys
from pathlib import Path

import msgspec

from tests.credentials.issuer import Issuer
from tests.credentials.logins import LoginFile
from tests.credentials.worker import DIED

ROOT = Path(__file__).parents[2]


def start_worker(login: LoginFile, threads: int = 1, die_at: int = 0) -> subprocess.Popen[bytes]:
    settings = msgspec.json.encode(login.settings).decode()
    command = [sys.executable, "-m", "tests.credentials.worker", settings, str(threads), str(die_at)]
    return subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE)


def test_eight_processes_with_fifty_requests_each_refresh_once(tmp_path: Path) -> None:
    issuer = Issuer("codex")
    issuer.delay = 1.0
    login = LoginFile("codex", tmp_path, issuer)

    workers = [start_worker(login, threads=50) for _ in range(8)]
    outputs = [worker.communicate(timeout=60) for worker in workers]

    issuer.stop()
    got = [token for output, _ in outputs for token in json.loads(output)]
    assert issuer.uses == ["refresh-secret-0"]
    assert len(got) == 400
    assert set(got) == issuer.live


def test_a_process_killed_at_any_step_of_a_save_costs_no_login(tmp_path: Path) -> None:
    issuer = Issuer("oca")
    outcomes = []

    for step in range(1, 100):
        login = LoginFile("oca", tmp_path, issuer)
        issuer.live.clear()
        used = len(issuer.uses)
        worker = start_worker(login, die_at=step)
        worker.communicate(timeout=30)
        if worker.returncode == 0:
            break
        assert worker.returncode == DIED
        if len(issuer.uses) == used:
            outcomes.append("before")
        elif issuer.newest not in stored_texts(login):
            # The answer died with the process before any file could have it: only the issuer could help.
            outcomes.append("lost")
            issuer.newest = login.pair[1]
        else:
            outcomes.append("kept")

        credential = login.open().snapshot()

        assert credential.access_token in issuer.live, f"killed at step {step}"
        assert login.content["otherKey"] == "keep"
        assert all(stat.S_IMODE(path.stat().st_mode) == 0o600 for path in tmp_path.iterdir() if path.is_file())

    issuer.stop()
    first_save = ["lost"] * outcomes.count("lost")
    assert outcomes == ["before"] * outcomes.count("before") + first_save + ["kept"] * outcomes.count("kept")
    assert len(first_save) <= 4
    assert outcomes.count("kept") >= 6
    assert not [path.name for path in tmp_path.iterdir() if path.name.endswith("-tmp")]


def test_a_renewal_under_gevent_holds_nobody_up_and_outlives_who_began_it(tmp_path: Path) -> None:
    issuer = Issuer("oca")
    issuer.delay = 1.0
    login = LoginFile("oca", tmp_path, issuer)
    settings = msgspec.json.encode(login.settings).decode()

    done = subprocess.run(
        [sys.executable, "-m", "tests.credentials.greenlets", settings], cwd=ROOT, capture_output=True, timeout=60
    )

    issuer.stop()
    result = json.loads(done.stdout)
    assert result["tokens"] == 1
    assert result["pause"] < 0.5
    assert issuer.uses == ["refresh-secret-0"]


def stored_texts(login: LoginFile) -> str:
    """What a later process can read: the login file and the note beside it, not a half-written temporary file."""
    return "".join(path.read_text() for path in login.folder.iterdir() if path.suffix == ".json")
