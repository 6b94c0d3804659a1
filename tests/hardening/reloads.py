"""A runtime that takes over a hundred configurations, and says what it holds before and after; run as a script."""

# ruff: noqa: E402
from gevent import monkey

monkey.patch_all()

import gc
import os
import sys
from pathlib import Path

import msgspec

from app.runtime import Runtime
from app.settings import LedgerSettings, ProviderSettings, ServerSettings, Settings


def settings(folder: str, number: int) -> Settings:
    provider = ProviderSettings(kind="openai", base_url=f"http://127.0.0.1:9/{number}", api_key="k")
    ledger = LedgerSettings(url=f"sqlite:///{folder}/ledger-{number % 3}.sqlite3")
    server = ServerSettings(max_attempts=1 + number % 2, proxies={"https": f"http://127.0.0.1:{9 + number % 2}"})
    return Settings(server=server, providers={"up": provider}, ledger=ledger)


def measure() -> tuple[int, float]:
    gc.collect()
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return len(os.listdir("/proc/self/fd")), pages * os.sysconf("SC_PAGE_SIZE") / 2**20


def main(folder: str) -> None:
    runtime = Runtime(settings(folder, 0), os.environ)
    before = (0, 0.0)
    for number in range(1, 131):
        fresh = settings(folder, number)
        runtime.reload(lambda fresh=fresh: fresh)  # type: ignore[misc]
        runtime.services.ledger.responses.put("", f"resp_{number}", b"value")
        runtime.follow()
        if number == 30:
            before = measure()
    print(msgspec.json.encode([before, measure()]).decode())


if __name__ == "__main__":
    main(sys.argv[1])
