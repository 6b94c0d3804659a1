"""The steps of docs/how-to/systemd.md, carried out in a system that a real systemd has booted.

debootstrap makes the system, systemd-nspawn boots it without any network but a loopback of its own, and a service of
the test inside it runs the script below, step by step.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks
from tests.support.debian import make_debian, need
from tests.support.package_index import find_outside

DOCUMENT = ROOT / "docs" / "how-to" / "systemd.md"
CACHE = ROOT / ".cache" / "machine"
PACKAGES = ("systemd", "systemd-sysv", "dbus", "libpam-systemd", "python3", "python3-venv", "ca-certificates")
KEY = "key-that-no-journal-may-hold"
NSPAWN = ("systemd-nspawn", "--quiet", "--register=no", "--keep-unit")
TIMEOUT = 600  # seconds for one command

PROBE_UNIT = """
[Unit]
After=basic.target dbus.service systemd-logind.service

[Service]
Type=oneshot
ExecStart=/bin/bash /results/steps.sh
ExecStopPost=/bin/systemctl poweroff --no-block
StandardOutput=file:/results/said
StandardError=file:/results/said
"""
ASK = f"""
import json, sys, time, urllib.request
body = {{"model": "demo/demo", "max_tokens": 50, "messages": [{{"role": "user", "content": "Hello"}}]}}
headers = {{"content-type": "application/json", "x-api-key": "{KEY}"}}
asked = urllib.request.Request("http://127.0.0.1:8080/v1/messages", json.dumps(body).encode(), headers)
print("answer:", json.load(urllib.request.urlopen(asked, timeout=60))["content"][-1]["text"])
"""
# $STEPS are those of the document from `install -d` on; the program itself was installed when the system was made.
STEPS = f"""
set -x
cd /source
STEPS
cat > /etc/dragoman/config.toml <<'END'
[server]
demo = true
api_keys = ["${{TEAM_KEY}}"]
END
chmod 600 /etc/dragoman/config.toml
(umask 077; echo '{KEY}' > /etc/dragoman/TEAM_KEY)
mkdir -p /etc/systemd/system/dragoman.service.d
printf '[Service]\\nLoadCredential=TEAM_KEY:/etc/dragoman/TEAM_KEY\\n' > /etc/systemd/system/dragoman.service.d/key.conf
systemctl daemon-reload
systemctl stop dragoman.service dragoman.socket
echo "== a socket alone"
systemctl start dragoman.socket
systemctl is-active dragoman.service
python3 /results/ask.py
systemctl is-active dragoman.service
echo "== the user"
echo "owner: $(stat -c %u /proc/$(systemctl show -P MainPID dragoman))"
echo "== a command as that user"
OPERATOR status
systemd-run --pipe --wait --quiet -p DynamicUser=yes -p User=dragoman -p StateDirectory=dragoman \\
    /bin/touch /var/lib/dragoman/mark
echo "left: $(ls /var/lib/dragoman/mark)"
echo "== a restart refuses nobody"
systemctl restart --no-block dragoman
python3 /results/ask.py
echo "== a crash is mended"
kill -KILL $(systemctl show -P MainPID dragoman)
sleep 0.2
python3 /results/ask.py
echo "restarts: $(systemctl show -P NRestarts dragoman)"
echo "== a reload"
systemctl reload dragoman && echo reloaded
python3 /results/ask.py
echo "== what is left to attack"
systemd-analyze security --no-pager dragoman | tail -n 1
echo "== it stops well"
systemctl stop dragoman.service
echo "result: $(systemctl show -P Result dragoman) $(systemctl show -P ExecMainStatus dragoman)"
systemctl stop dragoman.socket
echo "== a service of one user"
useradd --create-home alice
loginctl enable-linger alice
for _ in $(seq 50); do [ -S /run/user/$(id -u alice)/systemd/private ] && break; sleep 0.2; done
as_alice() {{ runuser -u alice -- env XDG_RUNTIME_DIR=/run/user/$(id -u alice) PATH=/opt/dragoman/bin:/usr/bin:/bin \\
    HOME=/home/alice bash -c "cd; $*"; }}
as_alice 'mkdir -p .config/dragoman; printf "[server]\\nport = 8080\\ndemo = true\\n" > .config/dragoman/config.toml'
as_alice 'dragoman service install'
python3 - <<'END'
import time, urllib.request
for _ in range(100):
    try:
        print("alice:", urllib.request.urlopen("http://127.0.0.1:8080/health", timeout=5).status)
        break
    except OSError:
        time.sleep(0.2)
END
as_alice 'dragoman service status'
as_alice 'dragoman service uninstall'
echo "== the journal"
journalctl --no-pager > /results/journal
echo "== end"
"""


def run(*command: str | Path) -> None:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, timeout=TIMEOUT)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"


@pytest.fixture(scope="module")
def system() -> Path:
    """A Debian with systemd, and the program of this checkout in /opt/dragoman."""
    need("systemd-nspawn")
    system = CACHE / "system"
    if not (CACHE / "made").exists():
        make_debian(system, "bookworm", PACKAGES)
        (CACHE / "made").touch()
    _check_that_it_boots(system)
    source = CACHE / "source"
    shutil.rmtree(source, ignore_errors=True)
    source.mkdir()
    for name in ("app", "deploy", "setup.cfg", "setup.py", "wsgi.py", "dragoman.py", "README.md", "LICENSE"):
        path = ROOT / name
        if path.is_dir():
            shutil.copytree(path, source / name, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy2(path, source)
    binds = [f"--bind-ro={path}" for path in find_outside()]
    install = "\n".join(step for step in steps() if "/opt/dragoman/bin/pip" in step or "-m venv" in step)
    here = f"--bind={source}:/source"
    run(*NSPAWN, "-D", system, "--pipe", "--chdir=/source", here, *binds, "/bin/sh", "-ec", install)
    return system


def _check_that_it_boots(system: Path) -> None:
    """What nspawn needs of the kernel, such as control groups, a machine may not have to give."""
    options = ("--volatile=overlay", "--private-network", "--boot", "systemd.unit=systemd-poweroff.service")
    command = [*NSPAWN, "-D", system, *options]
    done = subprocess.run(command, capture_output=True, stdin=subprocess.DEVNULL, text=True, timeout=120)
    if done.returncode:
        pytest.skip(f"systemd-nspawn boots nothing here: {(done.stderr or done.stdout).strip()[-300:]}")


def steps() -> list[str]:
    """The steps of the document for a host, one a line."""
    (block,) = [text for text in blocks(DOCUMENT, "sh") if "systemctl enable" in text]
    return block.splitlines()


def operator() -> str:
    """The document's command for what is done as the service's own user."""
    (block,) = [text for text in blocks(DOCUMENT, "sh") if "systemd-run" in text]
    return block.replace("--pty", "--pipe --wait --quiet").strip()


@pytest.fixture(scope="module")
def said(system: Path, tmp_path_factory: pytest.TempPathFactory) -> str:
    """What the script inside printed, once the system has gone down again."""
    results = tmp_path_factory.mktemp("results")
    rest = [step for step in steps() if "/opt/dragoman/bin/pip" not in step and "-m venv" not in step]
    script = STEPS.replace("STEPS", "\n".join(rest)).replace(
        "OPERATOR status", operator().replace("login claude", "status")
    )
    (results / "steps.sh").write_text(script)
    (results / "ask.py").write_text(ASK)
    (results / "probe.service").write_text(PROBE_UNIT)
    binds = (
        f"--bind={results}:/results",
        f"--bind-ro={CACHE / 'source'}:/source",
        f"--bind-ro={results / 'probe.service'}:/etc/systemd/system/probe.service",
    )
    options = ("--volatile=overlay", "--private-network", *binds, "--boot")
    command = [*NSPAWN, "-D", system, *options, "systemd.wants=probe.service"]
    subprocess.run([str(word) for word in command], capture_output=True, stdin=subprocess.DEVNULL, timeout=300)
    text = (results / "said").read_text()
    assert "== end" in text, text[-4000:]
    return text + "== journal\n" + (results / "journal").read_text()


def part(said: str, name: str) -> str:
    return said.split(f"\n== {name}\n", 1)[1].split("\n== ", 1)[0]


def test_who_connects_to_the_socket_starts_the_service(said: str) -> None:
    lines = part(said, "a socket alone").splitlines()

    states = [line for line in lines if line in ("active", "inactive")]
    assert states == ["inactive", "active"]
    assert any(line.startswith("answer:") and "Hello" in line for line in lines)


def test_it_runs_as_a_user_that_exists_only_meanwhile(said: str) -> None:
    (service,) = re.findall(r"^owner: (\d+)$", part(said, "the user"), re.MULTILINE)

    # systemd.exec(5), "DynamicUser="
    assert 61184 <= int(service) <= 65519


def test_a_command_of_the_operator_signs_in_where_the_service_looks(said: str) -> None:
    commanded = part(said, "a command as that user")

    assert re.search(r"^demo\b", commanded, re.MULTILINE)
    assert "left: /var/lib/dragoman/mark" in commanded


@pytest.mark.parametrize("name", ["a restart refuses nobody", "a crash is mended", "a reload"])
def test_who_asks_is_answered_whatever_happens_to_the_service(said: str, name: str) -> None:
    assert "Hello" in part(said, name)


def test_a_reload_reaches_it(said: str) -> None:
    assert "\nreloaded\n" in part(said, "a reload")


def test_a_crash_is_one_restart(said: str) -> None:
    assert "restarts: 1" in part(said, "a crash is mended")


def test_little_is_left_to_attack(said: str) -> None:
    (level,) = re.findall(r"exposure level for \S+: ([\d.]+)", part(said, "what is left to attack"))

    assert float(level) <= 2.5


def test_it_stops_without_an_error(said: str) -> None:
    assert "result: success 0" in part(said, "it stops well")


def test_a_user_installs_a_service_without_root(said: str) -> None:
    assert "alice: 200" in part(said, "a service of one user")


def test_no_key_is_in_the_journal(said: str) -> None:
    journal = said.split("\n== journal\n", 1)[1]

    assert "dragoman" in journal
    assert KEY not in journal
