"""Every block of every document runs, loads or says why not, against a gateway that serves its demo."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import yaml

from app.settings import load_settings
from tests.docs.blocks import CLIENTS, DOCUMENTS, ROOT, Block, all_blocks
from tests.support.gateway_process import BIN, GatewayProcess, bare_environ

STAND_INS = Path(__file__).parent / "bin"
PATH = f"{BIN}:{STAND_INS}:{os.environ['PATH']}"
BLOCKS = [block for document in DOCUMENTS for block in all_blocks(document)]
# Drawings, outputs and usages.
DATA = {"", "text"}
# Documents whose blocks make one whole, which a test of their own puts together and runs.
WHOLE = {"docs/hooks.md": "test_hooks.py", "docs/adding-a-provider.md": "test_adding_a_provider.py"}

# Enough of a variable for any setting that names one.
ENVIRON = {
    **{name: f"key-of-{name}" for name in ("TEAM_KEY", "ALICE_KEY", "PROXY_API_KEY", "LOCAL_KEY")},
    **dict.fromkeys(("ANTHROPIC_API_KEY", "OPENAI_API_KEY", "OPENROUTER_API_KEY", "DEEPSEEK_API_KEY"), "sk-upstream"),
    "AZURE_OPENAI_API_KEY": "sk-upstream",
    "LEDGER_URL": "postgresql://u:secret-word@db/dragoman",
    "REDIS_URL": "redis://redis:6379/0",
}
# The files that a command may name, by what the block before it is.
NAMED_FILES = {"yaml": "config.yaml", "json": "config.json", "toml": "dragoman.toml"}


def in_language(*languages: str) -> list[Block]:
    return [
        block
        for block in BLOCKS
        if block.language in languages and not block.excuse and str(block.document.relative_to(ROOT)) not in WHOLE
    ]


def name(block: Block) -> str:
    return block.name


SHELL = in_language("sh")
MAKES = [block for block in SHELL if block.text.startswith("make ")]
SERVES = [block for block in SHELL if "dragoman serve" in block.text]
CALLS = [block for block in SHELL if block not in MAKES + SERVES]


def test_every_block_is_run_by_something() -> None:
    languages = {block.language for block in BLOCKS if not block.excuse}

    known = DATA | {"sh", "python", "toml", "json", "yaml", "ini", "console", "nginx"}
    assert languages <= known
    own = {
        block.document.name for block in BLOCKS if block.language in {"ini", "console", "nginx"} and not block.excuse
    }
    assert own <= {"hooks.md", "adding-a-provider.md", "configuration.md", "scaling.md"}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: str(path.relative_to(ROOT)))
def test_no_block_hides_in_an_indentation(document: Path) -> None:
    outside = re.sub(r"^```.*?^```$", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)

    assert re.findall(r"\n\n {4,}(?![-*\d])\S.*", outside) == []


@pytest.mark.parametrize("document", WHOLE)
def test_a_document_that_is_one_whole_has_a_test(document: str) -> None:
    assert Path(document).name in (Path(__file__).parent / WHOLE[document]).read_text()


@pytest.mark.parametrize("block", MAKES, ids=name)
def test_the_targets_of_make_exist(block: Block) -> None:
    for line in block.text.splitlines():
        subprocess.run(["make", "-n", line.split()[1]], cwd=ROOT, check=True, capture_output=True)


@pytest.mark.parametrize("block", CALLS, ids=name)
def test_a_command_succeeds(block: Block, demo: GatewayProcess, tmp_path: Path) -> None:
    script = block.text.replace("127.0.0.1:8080", f"127.0.0.1:{demo.port}").replace("curl -s", "curl -sSf")
    write_files_before(block, tmp_path)
    codex = tmp_path / "home" / ".codex" / "config.toml"
    codex.parent.mkdir(parents=True)
    (settings,) = [each.text for each in all_blocks(CLIENTS) if "[model_providers." in each.text]
    codex.write_text(settings.replace("127.0.0.1:8080", f"127.0.0.1:{demo.port}"))

    done = subprocess.run(
        ["bash", "-euo", "pipefail", "-c", script],
        cwd=tmp_path,
        env=bare_environ(tmp_path / "home", PATH=PATH),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("block", in_language("python"), ids=name)
def test_an_example_prints_an_answer(block: Block, demo: GatewayProcess, tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", block.text.replace("127.0.0.1:8080", f"127.0.0.1:{demo.port}")],
        cwd=tmp_path,
        env=bare_environ(tmp_path / "home", PATH=PATH),
        capture_output=True,
        text=True,
        timeout=60,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.strip()


@pytest.mark.parametrize("block", SERVES, ids=name)
def test_a_start_answers_and_stops_when_told(block: Block, tmp_path: Path) -> None:
    secrets = tmp_path / "home" / ".cline" / "data" / "secrets.json"
    secrets.parent.mkdir(parents=True)
    secrets.write_text('{"ocaApiKey": "opaque-token"}')
    if "token" not in block.text and "export" not in block.text:
        write_files_before(block, tmp_path)
    # exec: the signal is for the gateway, not for the shell that a reader would type into.
    script = re.sub(r"^dragoman serve(?: --port \d+)?", "exec dragoman serve", block.text, flags=re.MULTILINE)

    with GatewayProcess(tmp_path, command=["bash", "-euc", script]) as gateway:
        gateway.signal(signal.SIGTERM)

        assert gateway.wait() == 0


@pytest.mark.parametrize("block", in_language("toml"), ids=name)
def test_a_configuration_loads(block: Block, tmp_path: Path) -> None:
    path = tmp_path / "dragoman.toml"
    # What only some users need, an extract of a file leaves out.
    whole = block.text if "[providers." in block.text else f"{block.text}\n[providers.local]\nkind = 'demo'\n"
    path.write_text(whole)
    path.chmod(0o600)

    settings = load_settings(path, ENVIRON | {"HOME": str(tmp_path)}, {})

    assert set(settings.providers) - {"demo"}


@pytest.mark.parametrize("block", in_language("json", "yaml"), ids=name)
def test_a_file_of_data_is_what_it_says(block: Block) -> None:
    assert yaml.safe_load(block.text) if block.language == "yaml" else json.loads(block.text)


def write_files_before(block: Block, folder: Path) -> None:
    """The files that the document has shown before this block, if its commands read them."""
    shown = all_blocks(block.document)
    reads_settings = re.search(r"dragoman (?:serve|explain)", block.text)
    for each in shown[: shown.index(block)]:
        file = NAMED_FILES.get(each.language, "")
        if file and not each.excuse and (file in block.text or (each.language == "toml" and reads_settings)):
            path = folder / file
            path.write_text(each.text)
            path.chmod(0o600)


@pytest.mark.parametrize("base", sorted(set(re.findall(r"http://127\.0\.0\.1:8080[^`\s]*(?=`)", CLIENTS.read_text()))))
def test_a_base_url_that_is_told_is_one(base: str, demo: GatewayProcess) -> None:
    base = base.replace("127.0.0.1:8080", f"127.0.0.1:{demo.port}").replace("/NAME/", "/demo/").rstrip("/")
    body = {"model": "demo/demo", "messages": [{"role": "user", "content": "Hello"}]}
    request = urllib.request.Request(
        f"{base}/chat/completions", json.dumps(body).encode(), {"content-type": "application/json"}
    )

    with urllib.request.urlopen(request, timeout=10) as answer:
        assert json.load(answer)["object"] == "chat.completion"
