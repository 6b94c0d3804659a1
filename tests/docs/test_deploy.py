"""The files in deploy/ are what their tools accept."""

from __future__ import annotations

import re
import subprocess

from tests.docs.blocks import ROOT
from tests.support.programs import program

DEPLOY = ROOT / "deploy"


def test_prometheus_takes_the_configuration_and_the_alerts() -> None:
    promtool = program("promtool")

    for arguments in (
        ("check", "config", "--syntax-only", DEPLOY / "prometheus" / "prometheus.yml"),
        ("check", "rules", DEPLOY / "prometheus" / "alerts.yml"),
    ):
        done = subprocess.run([promtool, *arguments], capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_what_the_dashboard_and_the_alerts_show_is_a_metric() -> None:
    documented = set(
        re.findall(r"`((?:dragoman|gen_ai)_\w+)`", (ROOT / "docs" / "reference" / "metrics.md").read_text())
    )
    shown = (DEPLOY / "grafana" / "dashboards" / "dragoman.json", DEPLOY / "prometheus" / "alerts.yml")

    for path in shown:
        used = set(re.findall(r"\b((?:dragoman|gen_ai_server|gen_ai_client)_\w+)", path.read_text()))
        names = {name.removesuffix("_bucket") for name in used}
        assert names
        assert names <= documented


def test_each_base_image_is_named_by_version_and_digest() -> None:
    text = (DEPLOY / "Containerfile").read_text()
    stages = re.findall(r"^FROM (\S+)(?: AS (\S+))?$", text, re.MULTILINE)
    bases = re.findall(r"^ARG (PYTHON|NODE)=(\S+)$", text, re.MULTILINE)

    assert {base for base, _ in stages} <= {f"${{{name}}}" for name, _ in bases} | {name for _, name in stages}
    assert [name for name, _ in bases] == ["PYTHON", "NODE"]
    assert all(re.fullmatch(r"[\w./-]+:\d+\.\d+\.\d+[\w.-]*@sha256:[0-9a-f]{64}", image) for _, image in bases)
