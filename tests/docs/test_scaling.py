"""What docs/scaling.md shows for several hosts works, with nginx and two gateways."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.blocks import ROOT, blocks
from tests.docs.test_reverse_proxies import AROUND_NGINX, PROGRAMS
from tests.server.hosts import both
from tests.support.clock import wait_until
from tests.support.gateway_process import GatewayProcess, free_port

DOCUMENT = ROOT / "docs" / "scaling.md"
SERVER = """
server {
    listen 127.0.0.1:PORT;
    location / {
        proxy_pass http://dragoman;
        proxy_http_version 1.1;
        proxy_set_header Connection "";
        proxy_set_header Host 127.0.0.1;
    }
}
"""


@pytest.fixture
def hosts(tmp_path: Path) -> Iterator[tuple[GatewayProcess, GatewayProcess]]:
    folders = [tmp_path / name for name in ("one", "two")]
    for folder in folders:
        folder.mkdir()
        (folder / "dragoman.toml").write_text("[providers.demo]\n")
    with both(folders[0], folders[1]) as started:
        yield started


@contextlib.contextmanager
def nginx_before(folder: Path, *hosts: GatewayProcess) -> Iterator[str]:
    """nginx with the upstreams of the document, which lead to these hosts."""
    program = shutil.which("nginx", path=PROGRAMS)
    if program is None:
        pytest.skip("nginx is not installed")
    (recipe,) = blocks(DOCUMENT, "nginx")
    for address, host in zip(("10.0.0.11:8080", "10.0.0.12:8080"), hosts, strict=True):
        assert address in recipe
        recipe = recipe.replace(address, f"127.0.0.1:{host.port}")
    port = free_port()
    text = AROUND_NGINX.replace("RECIPE", recipe + SERVER).replace("FOLDER", str(folder)).replace("PORT", str(port))
    (folder / "nginx.conf").write_text(text)
    process = subprocess.Popen([program, "-e", "stderr", "-p", str(folder), "-c", str(folder / "nginx.conf")])
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: ask(url))
        yield url
    finally:
        process.terminate()
        process.wait(10)


def ask(url: str) -> int:
    """The process that answered; 0 where none did."""
    try:
        with urllib.request.urlopen(f"{url}/health", timeout=10) as reply:
            return int(reply.read().split(b'"pid":')[1].split(b",")[0])
    except (urllib.error.URLError, OSError):
        return 0


def test_nginx_leads_to_both_hosts_and_leaves_out_one_that_died(
    tmp_path: Path, hosts: tuple[GatewayProcess, GatewayProcess]
) -> None:
    with nginx_before(tmp_path, *hosts) as url:
        workers = {ask(url) for _ in range(20)}
        os.killpg(hosts[0].process.pid, signal.SIGKILL)
        after = [ask(url) for _ in range(20)]

    assert len(workers) == 2
    assert 0 not in after
    assert len(set(after)) == 1
