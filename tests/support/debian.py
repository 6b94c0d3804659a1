"""Debian systems in folders, for tests that need a machine of their own. Where one cannot be made, they skip and say
why."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

TIMEOUT = 900  # seconds
_OWN = ("unshare", "--mount", "--pid", "--net", "--fork", "mount", "-t", "tmpfs", "tmpfs", "/mnt")


def need(*programs: str) -> None:
    """Skips the test unless this machine has the programs, and lets root make mounts and networks of their own."""
    if os.geteuid() != 0 or sys.platform != "linux":
        pytest.skip("only root on Linux can make a system in a folder")
    missing = [program for program in (*programs, "debootstrap", "unshare") if shutil.which(program) is None]
    if missing:
        pytest.skip(f"not on this machine: {', '.join(missing)}")
    done = subprocess.run(_OWN, capture_output=True, text=True, timeout=60)
    if done.returncode:
        pytest.skip(f"no mounts and networks of its own for a process of this machine: {done.stderr.strip()}")


def make_debian(folder: Path, release: str, packages: Sequence[str]) -> None:
    """Makes a minimal system in `folder`, in the place of whatever is there."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(parents=True, exist_ok=True)
    command = ["debootstrap", "--variant=minbase", f"--include={','.join(packages)}", release, str(folder)]
    done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=TIMEOUT)
    if done.returncode:
        shutil.rmtree(folder, ignore_errors=True)
        pytest.skip(f"debootstrap cannot make a Debian here: {done.stdout.strip()[-300:]}")
