"""Specifies that a worker's threads share one heap, and that what is free in it goes back to the system."""

from __future__ import annotations

import subprocess
import sys

import pytest

# A further heap reserves 64 MB of addresses, of which it uses the beginning.
COUNT_HEAPS = """
import re, sys, threading
if sys.argv[1] == "shared":
    from app.server.heap import share_heap
    share_heap()
def allocate():
    global kept
    kept = [bytes(2000) for _ in range(100)]
    maps = open("/proc/self/maps").read()
    sizes = [int(end, 16) - int(start, 16) for start, end in re.findall(r"^(\\w+)-(\\w+) ---p", maps, re.M)]
    print(sum(60 << 20 < size <= 64 << 20 for size in sizes))
thread = threading.Thread(target=allocate)
thread.start()
thread.join()
"""


def count_heaps(kind: str) -> int:
    return int(subprocess.run([sys.executable, "-c", COUNT_HEAPS, kind], check=True, capture_output=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_thread_gets_no_heap_of_its_own() -> None:
    if not count_heaps("apart"):
        pytest.skip("this C library gives threads no heaps of their own")

    assert count_heaps("shared") == 0


KEEP_THE_LAST = """
import os
from app.server.heap import trim_heap
def resident():
    return int(open("/proc/self/statm").read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
many = [bytes(60_000) for _ in range(500)]
del many[:-1]  # keeps the end of the heap in use
before = resident()
trim_heap()
print(before - resident())
"""


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_what_is_free_below_what_is_used_goes_back() -> None:
    given_back = int(subprocess.run([sys.executable, "-c", KEEP_THE_LAST], check=True, capture_output=True).stdout)
    if not given_back:
        pytest.skip("this C library cannot give it back")

    assert given_back > 20 << 20
