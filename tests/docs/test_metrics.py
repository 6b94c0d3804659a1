"""The page of metrics names each metric of the code, with its type and labels."""

from __future__ import annotations

import json
import re
import urllib.request
from pathlib import Path

from prometheus_client.parser import text_string_to_metric_families

from tests.docs.blocks import ROOT
from tests.support.gateway_process import GatewayProcess

PAGE = (ROOT / "docs" / "reference" / "metrics.md").read_text()
ROWS = re.findall(r"^\| (`(?:dragoman|gen_ai)_.+?`) \| (\w+) \| .+? \|(?: (.*) \|)?$", PAGE, re.MULTILINE)
TYPES = {name: kind for names, kind, _ in ROWS for name in re.findall(r"\w+", names)}
LABELS = {
    name: set(re.findall(r"`(\w+)`", re.sub(r"\(.+?\)", "", labels)))
    for names, _, labels in ROWS
    for name in re.findall(r"\w+", names)
}
OF_GEN_AI = {"gen_ai_operation_name", "gen_ai_provider_name", "gen_ai_request_model", "gen_ai_token_type"}


def test_each_metric_of_the_code_is_on_the_page_and_no_other() -> None:
    rooms = (ROOT / "app" / "gateway" / "recording", ROOT / "app" / "blueprints" / "operations")
    made = {
        name
        for room in rooms
        for path in room.rglob("*.py")
        for name in re.findall(r'"((?:dragoman|gen_ai)_\w+)"', path.read_text())
    }

    assert made - OF_GEN_AI == {name.removesuffix("_total") for name in TYPES}


def test_a_scrape_has_the_types_and_labels_of_the_page(tmp_path: Path) -> None:
    body = {"model": "demo/demo", "max_tokens": 50, "stream": True, "messages": [{"role": "user", "content": "Hello"}]}
    with GatewayProcess(tmp_path) as gateway:
        asked = urllib.request.Request(
            f"{gateway.url}/v1/messages", json.dumps(body).encode(), {"content-type": "application/json"}
        )
        urllib.request.urlopen(asked, timeout=20).read()
        scraped = urllib.request.urlopen(f"{gateway.url}/metrics", timeout=20).read().decode()

    families = list(text_string_to_metric_families(scraped))
    assert len(families) > 20
    for family in families:
        name = family.name + "_total" * (family.type == "counter")
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        assert family.type == TYPES[name], name
        assert labels <= (OF_GEN_AI if name.startswith("gen_ai") else LABELS[name]), name
