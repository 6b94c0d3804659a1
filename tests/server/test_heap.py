"""Specifies that a worker's threads share one heap."""

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
