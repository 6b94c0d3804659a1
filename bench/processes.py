"""Reads what a process and its children used: CPU time and memory, from /proc."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

PROC = Path("/proc")
# Where other work is least in the way, the measured server has a core for itself.
SERVER_CORE, LOAD_CORE = min(os.sched_getaffinity(0)), max(os.sched_getaffinity(0))


def read_cpu_us(pid: int) -> float:
    """CPU time that the process tree used so far, in microseconds: the scheduler's count, or ticks without one."""
    return sum(_read_task_us(task) for process in list_tree(pid) for task in (PROC / str(process) / "task").iterdir())


def read_worker_memory(pid: int) -> int:
    """Resident bytes of the worker."""
    pages = (PROC / str(find_worker(pid)) / "statm").read_text().split()[1]
    return int(pages) * os.sysconf("SC_PAGE_SIZE")


def find_worker(pid: int) -> int:
    """The youngest process of the tree: the worker, or the program itself where it has none."""
    return list_tree(pid)[-1]


def list_tree(pid: int) -> list[int]:
    """The process and all below it, oldest first."""
    children: dict[int, list[int]] = {}
    for folder in PROC.iterdir():
        if folder.name.isdigit() and (parent := _read_parent(folder)) is not None:
            children.setdefault(parent, []).append(int(folder.name))
    tree = [pid]
    for process in tree:
        tree += sorted(children.get(process, []))
    return tree


@contextmanager
def pinned_to(core: int) -> Iterator[None]:
    """Processes started meanwhile run on this core only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {core})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def _read_task_us(task: Path) -> float:
    try:
        return int((task / "schedstat").read_text().split()[0]) / 1000
    except FileNotFoundError:
        pass
    try:
        user, system = (task / "stat").read_text().rsplit(")", 1)[1].split()[11:13]
    except FileNotFoundError:
        return 0.0
    return (int(user) + int(system)) * 1e6 / os.sysconf("SC_CLK_TCK")


def _read_parent(folder: Path) -> int | None:
    try:
        return int((folder / "stat").read_text().rsplit(")", 1)[1].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return None
