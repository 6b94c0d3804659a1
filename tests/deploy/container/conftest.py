"""The image of deploy/Containerfile, built by buildah on a stand-in of its bases, and run without a container engine.

The bases cannot be pulled here, so a Debian of the same release with its own Python, made by debootstrap, stands for
them. Everything else is the file's own: each step is carried out as it is written.
"""

from __future__ import annotations

import contextlib
import functools
import json
import os
import shlex
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.support.debian import make_debian, need
from tests.support.package_index import find_outside

HERE = Path(__file__).parent
ROOT = HERE.parents[2]
CACHE = ROOT / ".cache" / "container"
RELEASE = "trixie"
TIMEOUT = 600  # seconds for one command


def run(*command: str | Path) -> str:
    done = subprocess.run([str(word) for word in command], capture_output=True, text=True, cwd=ROOT, timeout=TIMEOUT)
    assert done.returncode == 0, f"{done.stdout[-4000:]}\n{done.stderr[-4000:]}"
    return done.stdout.strip()


def buildah(*arguments: str | Path) -> str:
    driver = find_driver()
    own = ("--storage-driver", driver, "--root", CACHE / f"storage-{driver}", "--runroot", CACHE / "run")
    return run("buildah", *own, *arguments)


@functools.cache
def find_driver() -> str:
    """How layers are kept: `vfs` copies each whole, and takes minutes; `overlay` needs a file system that allows it."""
    for name in ("lower", "upper", "work", "merged"):
        (CACHE / "try" / name).mkdir(parents=True, exist_ok=True)
    mount = "mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work merged"
    done = subprocess.run(["unshare", "--mount", "sh", "-c", mount], cwd=CACHE / "try", capture_output=True)
    return "vfs" if done.returncode else "overlay"


@pytest.fixture(scope="session")
def base() -> Iterator[str]:
    """The name of an image that stands for both base images: Debian's Python, and Node where it is installed here."""
    need("buildah", "nsenter", "setpriv", "ip")
    try:
        yield make_base()
    finally:
        buildah("rm", "--all")
        # Layers on overlays are mounted, as is the folder around them: whatever stays could not be deleted.
        mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
        for place in reversed([place for place in mounted if Path(place).is_relative_to(CACHE)]):
            run("umount", place)


def make_base() -> str:
    name = "localhost/stand-in"
    if name in buildah("images", "--format", "{{.Name}}"):
        return name
    system = CACHE / "system"
    make_debian(system, RELEASE, ("python3", "python3-venv", "ca-certificates"))
    (system / "usr/bin/python").symlink_to("python3")
    for program in ("/usr/bin/node", "/usr/local/bin/node"):
        if Path(program).exists():
            shutil.copy2(program, system / "usr/bin/node")
            npm = Path(shutil.which("npm") or "").resolve().parents[1]
            shutil.copytree(npm, system / "usr/lib/node_modules/npm", symlinks=True)
            (system / "usr/bin/npm").symlink_to("../lib/node_modules/npm/bin/npm-cli.js")
            break
    container = buildah("from", "scratch")
    buildah("copy", "--quiet", container, system, "/")
    buildah("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin", container)
    if authorities := os.environ.get("NODE_EXTRA_CA_CERTS"):
        buildah("config", "--env", f"NODE_EXTRA_CA_CERTS={authorities}", container)
    buildah("commit", "--quiet", "--rm", container, name)
    shutil.rmtree(system)
    return name


def build(base: str, target: str | None) -> Image:
    volumes = [f"--volume={path}:{path}:ro" for path in find_outside()]
    name = f"localhost/dragoman-{target or 'default'}"
    bases = (f"--build-arg=PYTHON={base}", f"--build-arg=NODE={base}")
    chosen = (f"--target={target}",) if target else ()
    options = ["--isolation=chroot", "--format=docker", "--file=deploy/Containerfile", f"--tag={name}"]
    # The stages that two targets share are built once. As copies, layers would cost more than they save.
    options += ["--layers"] if find_driver() == "overlay" else []
    buildah("build", *options, *bases, *chosen, *volumes, ".")
    container = buildah("from", "--pull-never", name)
    told = json.loads(buildah("inspect", "--type", "image", name))
    return Image(Path(buildah("mount", container)), told["Docker"]["config"])


@pytest.fixture(scope="session")
def image(base: str) -> Image:
    return build(base, None)


class Image:
    """A file system, and what the image says of itself."""

    def __init__(self, root: Path, config: dict[str, Any]) -> None:
        self.root = root
        self.config = config

    @contextlib.contextmanager
    def start(
        self, data: Path, *, user: str | None = None, environ: Mapping[str, str] | None = None, words: str = ""
    ) -> Iterator[Running]:
        """Runs the image as an engine with --read-only, --tmpfs /tmp and a volume at /data would: no network but a
        loopback of its own, no rights. `user` is what --user says; "0:0" leaves root the rights that it has there."""
        uid, _, gid = (user or self.config["User"]).partition(":")
        command = [*self.config["Entrypoint"], *(words.split() or self.config["Cmd"])]
        told = [*self.config["Env"], *(f"{name}={value}" for name, value in (environ or {}).items())]
        rights = [] if uid == "0" else ["--bounding-set=-all", "--no-new-privs"]
        become = ["setpriv", f"--reuid={uid}", f"--regid={gid}", "--clear-groups", *rights]
        root = shlex.quote(str(self.root))
        script = "\n".join(
            (
                "set -e",
                f"mount --bind {root} {root}",
                f"mount --bind {shlex.quote(str(data))} {root}/data",
                f"mount -t tmpfs tmpfs {root}/tmp",
                f"mount -t proc proc {root}/proc",
                f"mount --bind /dev {root}/dev",
                f"mount -o remount,ro,bind {root}",
                "ip link set lo up",
                f"exec chroot {root} {shlex.join(['env', '-i', *told, *become, *command])}",
            )
        )
        log = data.parent / "container.log"
        with log.open("w") as out:
            process = subprocess.Popen(
                ["unshare", "--mount", "--pid", "--net", "--fork", "--kill-child", "bash", "-c", script],
                stdout=out,
                stderr=out,
            )
        running = Running(process, log, self, told)
        try:
            yield running
        finally:
            # A program that has become another user outlives what started it, --kill-child or not.
            with contextlib.suppress(OSError, IndexError):
                os.kill(running.pid, signal.SIGKILL)
            process.kill()
            process.wait(20)


class Running:
    def __init__(self, process: subprocess.Popen[bytes], log: Path, image: Image, environ: list[str]) -> None:
        self.process = process
        self.log = log
        self._image = image
        self._environ = environ

    @property
    def pid(self) -> int:
        """The first process in the container, as it is called outside."""
        children = Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        return int(children[0])

    def run(self, *command: str) -> subprocess.CompletedProcess[str]:
        """A command inside, as `podman exec` runs it."""
        inside = ["nsenter", f"--target={self.pid}", "--mount", "--pid", "--net", "--root", "--wd=/"]
        uid = self.user()
        become = ["setpriv", f"--reuid={uid}", "--regid=10001", "--clear-groups"]
        return subprocess.run(
            [*inside, "env", "-i", *self._environ, *become, *command], capture_output=True, text=True, timeout=60
        )

    def check_health(self) -> int:
        kind, *command = self._image.config["Healthcheck"]["Test"]
        assert kind == "CMD"
        return self.run(*command).returncode

    def wait_until_healthy(self) -> None:
        deadline = time.monotonic() + 60
        while time.monotonic() < deadline and self.process.poll() is None:
            with contextlib.suppress(OSError, IndexError):
                if self.check_health() == 0:
                    return
            time.sleep(0.2)
        raise AssertionError(f"it does not get healthy; it said: {self.log.read_text()}")

    def user(self) -> int:
        status = Path(f"/proc/{self.pid}/status").read_text()
        return int(next(line for line in status.splitlines() if line.startswith("Uid:")).split()[1])

    def stop(self) -> int:
        """What an engine's stop does: the image's signal to the first process. The exit code."""
        os.kill(self.pid, signal.Signals[self._image.config["StopSignal"]])
        return self.process.wait(60)
