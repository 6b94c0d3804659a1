"""Is `make bench`: it measures the gateway beside nginx and bare Node in interleaved rounds of one run.

The exit code is 1 when an answer was wrong, and 0 whatever the numbers say.
"""

from __future__ import annotations

import argparse
import os
import tempfile
import time
from functools import partial
from pathlib import Path

from findings import Findings
from load import Driver
from measurements import FULL, QUICK, Bench
from processes import LOAD_CORE
from programs import DIRECT, build_program, started_servers, time_start
from report import print_report


def main() -> int:
    parser = argparse.ArgumentParser(description="Measure the gateway's CPU time, memory and delay beside its peers.")
    parser.add_argument("--quick", action="store_true", help="under a minute, and as much rougher")
    parser.add_argument("--only", metavar="NAME", default="", help="what has a name that begins so")
    parser.add_argument("--log-level", default="warn", help="the gateway's; info writes one line a request")
    parser.add_argument("--peers", action="store_true", help="beside the compiled gateways too, from $PEERS_HOME")
    arguments = parser.parse_args()
    began = time.monotonic()
    os.sched_setaffinity(0, {LOAD_CORE})
    findings = Findings()
    with tempfile.TemporaryDirectory(prefix="bench-") as name:
        folder = Path(name)
        driver = Driver(build_program("driver", folder), folder)
        with started_servers(folder, arguments.log_level, with_peers=arguments.peers) as servers:
            start = partial(time_start, folder, servers[DIRECT].port, arguments.log_level)
            Bench(driver, servers, start, QUICK if arguments.quick else FULL, findings).measure(arguments.only)
    print_report(findings, time.monotonic() - began)
    return 1 if findings.faults else 0


if __name__ == "__main__":
    raise SystemExit(main())
