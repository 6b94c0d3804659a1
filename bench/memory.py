"""Is `make memory`: what the worker holds while hundreds of thousands of mixed requests go by.

Each pair of client and upstream, whole and streamed, is asked in turns; the worker's resident memory is read after each
turn. What it grew by after the first fifth is what counts: until then caches fill.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from pathlib import Path

from dialects import CHAT, MESSAGES, RESPONSES
from load import Driver
from processes import LOAD_CORE, read_worker_memory
from programs import build_program, free_port, gateway_command, started, upstream_command, write_gateway_config
from scenarios import FEW, UNARY, Scenario

REQUESTS = 200_000
# What it may have grown by at the end, in MB.
LIMIT_MB = 1.0
CONNECTIONS = 16
SECONDS = 0.5
SHOWN = 10

LOADS = [
    Scenario(name=f"memory-{number}", client=client, upstream=upstream, answer=answer, connections=CONNECTIONS)
    for number, (client, upstream, answer) in enumerate(
        (client, upstream, answer)
        for client in (CHAT, MESSAGES, RESPONSES)
        for upstream in (CHAT, MESSAGES)
        for answer in (UNARY, FEW)
        if (client, answer) != (RESPONSES, UNARY)  # the driver finds no text in that one
    )
]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--requests", type=int, default=REQUESTS)
    wanted = parser.parse_args().requests
    os.sched_setaffinity(0, {LOAD_CORE})
    began = time.monotonic()
    samples: list[tuple[int, float]] = []
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        driver = Driver(build_program("driver", folder), folder)
        upstream, port = free_port(), free_port()
        command = gateway_command(write_gateway_config(folder, upstream), port, "info")
        with (
            started("direct", upstream_command(folder, upstream), upstream, folder),
            started("gateway", command, port, folder) as server,
        ):
            answered = shown = 0
            print("| requests | resident MB |\n|--:|--:|", flush=True)
            while answered < wanted:
                for scenario in LOADS:
                    load, _ = driver.run(scenario, server, SECONDS)
                    if load.wrong:
                        raise SystemExit(f"{scenario.client.path} to {scenario.model}: {load.complaint}")
                    answered += load.answers
                samples.append((answered, read_worker_memory(server.pid) / 1e6))
                if answered >= min(shown, wanted):
                    shown += wanted // SHOWN
                    print(f"| {answered:,} | {samples[-1][1]:.1f} |", flush=True)
    settled = next(megabytes for count, megabytes in samples if count >= answered / 5)
    grown = samples[-1][1] - settled
    verdict = "ok" if grown <= LIMIT_MB else "over"
    print(
        f"\n{time.monotonic() - began:.0f} s; grown after the first fifth: {grown:.2f} MB of {LIMIT_MB} MB, {verdict}"
    )
    return 0 if grown <= LIMIT_MB else 1


if __name__ == "__main__":
    raise SystemExit(main())
