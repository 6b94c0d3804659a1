"""What each sink of records costs: CPU microseconds a request, for the requests of a team of 20.

Run by `make growth`; ends with an error where all of them together cost more than MAX_US.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from app.accounts.accounts import MAX_BATCH
from app.accounts.database import AccountsDatabase
from app.gateway.recording.metrics import Metrics
from app.gateway.recording.record_log import RecordLog
from app.gateway.recording.recorder import MAX_WAITING
from app.known_secrets import known_secrets
from app.logs import request_log
from tests.accounts.records import many

MAX_US = 10.0
RECORDS = 20_000
# What else runs on the machine only adds to a time, so the shortest counts.
ROUNDS = 5


def main() -> int:
    records = list(islice(many(1_000_000, days=1), RECORDS))
    known_secrets.configure(["sk-5b64de613963be2c0c4a4d3c", "9d3c1f0a7be24466a1c2d0f4"])
    total = 0.0
    print("| sink | CPU a request, us |\n|---|--:|")
    with tempfile.TemporaryDirectory(prefix="bench-") as folder, open(Path(folder) / "log", "wb") as file:
        request_log.open(file, as_json=True)
        log, metrics, database = RecordLog(), Metrics(), AccountsDatabase(Path(folder) / "usage.sqlite3")

        def write_log() -> None:
            for start in range(0, RECORDS, MAX_BATCH):
                log.take(records[start : start + MAX_BATCH])
                request_log.flush()

        def count() -> None:
            for start in range(0, RECORDS, MAX_WAITING):
                metrics.take(records[start : start + MAX_WAITING])

        def write_accounts() -> None:
            for start in range(0, RECORDS, MAX_BATCH):
                database.write(records[start : start + MAX_BATCH])

        for name, work in (("log", write_log), ("metrics", count), ("accounts", write_accounts)):
            cost = min(_measure(work) for _ in range(ROUNDS))
            total += cost
            print(f"| {name} | {cost:.1f} |")
        database.close()
    print(f"| all (at most {MAX_US:g}) | {total:.1f} |")
    return int(total > MAX_US)


def _measure(work: Callable[[], None]) -> float:
    began = time.process_time()
    work()
    return (time.process_time() - began) / RECORDS * 1e6


if __name__ == "__main__":
    sys.exit(main())
