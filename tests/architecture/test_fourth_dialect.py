"""A fourth dialect comes in by the doors that docs/adding-a-dialect.md names, and by no other.

It is made here: a copy of the program in which one dialect stands a second time, under another name. Its paths hold
what the bodies of the first three do: the model, the mode, a session.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
ORIGINAL, COPY = "openai_chat", "fourth"
BLUEPRINT = '''"""The fourth family."""

from __future__ import annotations

from app.blueprints.endpoints import Endpoint
from app.dialects.registry import DIALECTS
from app.gateway.peek import Parts, Peek, peek_path

TALK = "models/<path:model>:<any(talk, streamTalk):action>"


def _read(parts: Parts) -> Peek:
    return Peek(model=parts["model"], stream=parts["action"] == "streamTalk")


ENDPOINT = Endpoint(DIALECTS["fourth"], read_peek=peek_path(_read))
ENDPOINTS = dict.fromkeys((f"/v4/{TALK}", f"/v4/<session>/{TALK}"), ENDPOINT)
'''

ASK = """
import json
from pathlib import Path
from types import SimpleNamespace
from app import create_app
from app.settings.loading import load_settings

app = create_app(load_settings(Path("dragoman.toml"), {}, {}))
records = []
app.runtime.recorder.sinks = (SimpleNamespace(take=records.extend),)
client = app.test_client()
said = {"messages": [{"role": "user", "content": "hello"}]}
replies = {
    "whole": client.post("/v4/models/demo/demo:talk", json=said),
    "stream": client.post("/v4/my-session/models/demo/demo:streamTalk", json=said),
    "mounted": client.post("/demo/v4/models/demo:talk", json=said),
    "refused": client.post("/v4/models/demo/demo:talk", json={**said, "messages": 5}),
    "no object": client.post("/v4/models/demo/demo:talk", json=[]),
    "no model": client.post("/v4/models/caf%C3%A9:7b:talk", json=said),
    "no action": client.post("/v4/models/demo/demo:sing", json=said),
    "no method": client.get("/v4/models/demo/demo:talk"),
    "no path": client.get("/v4/models/nothing"),
}
told = {name: [reply.status_code, reply.get_data(as_text=True)] for name, reply in replies.items()}
asked = [[record.model, record.stream, record.session] for record in records]
print(json.dumps([told, asked]))
"""


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the program, with the fourth dialect in it."""
    root = tmp_path_factory.mktemp("fourth")
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(ROOT / "app", root / "app", ignore=ignored)
    for part in ("laws", "support", "wire"):
        shutil.copytree(ROOT / "tests" / part, root / "tests" / part, ignore=ignored)
    shutil.copytree(root / "tests" / "wire" / ORIGINAL, root / "tests" / "wire" / COPY)
    shutil.copy(ROOT / "tests" / "conftest.py", root / "tests")
    shutil.copy(ROOT / "setup.cfg", root)
    (root / "dragoman.toml").write_text('[providers.demo]\nkind = "demo"\n[models]\nunknown = "refuse"\n')

    # 1. the folder
    shutil.copytree(root / "app" / "dialects" / ORIGINAL, root / "app" / "dialects" / COPY)
    for module in (root / "app" / "dialects" / COPY).rglob("*.py"):
        module.write_text(module.read_text().replace(ORIGINAL, COPY))
    traits = root / "app" / "dialects" / COPY / "traits.py"
    _replace(traits, 'path_marks=("/chat/completions",)', 'path_marks=("/v4/",)')
    parser = root / "app" / "dialects" / COPY / "request_parser.py"
    _replace(parser, 'raise InvalidRequest("model string is required", param="model")', 'return ""')
    # 2. the registry
    registry = root / "app" / "dialects" / "registry.py"
    _replace(registry, "import anthropic_messages, ", f"import {COPY}, anthropic_messages, ")
    _replace(registry, "= (anthropic_messages, ", f"= (anthropic_messages, {COPY}, ")
    # 3. the blueprint
    families = root / "app" / "blueprints" / "api_families"
    (families / f"{COPY}.py").write_text(BLUEPRINT)
    factory = root / "app" / "application.py"
    _replace(factory, "api_families import anthropic, ", f"api_families import {COPY}, anthropic, ")
    _replace(factory, "families = (anthropic, ", f"families = (anthropic, {COPY}, ")
    return root


def _replace(path: Path, old: str, new: str) -> None:
    text = path.read_text()
    assert text.count(old) == 1, (path, old)
    path.write_text(text.replace(old, new))


def _run(program: Path, *arguments: str) -> str:
    environment = {**os.environ, "PYTHONPATH": str(program), "PYTHONDONTWRITEBYTECODE": "1", "HOME": str(program)}
    run = subprocess.run(
        [sys.executable, *arguments], cwd=program, env=environment, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, (run.stdout + run.stderr)[-4000:]
    return run.stdout


def test_all_laws_hold_for_a_fourth_dialect(program: Path) -> None:
    laws = ("-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "tests/laws")
    # A short way to read plain requests is a dialect's own choice.
    listed = re.findall(r"^(?!\S+/test_plain_requests)\S+::.*", _run(program, *laws, "--collect-only"), re.MULTILINE)
    of = {name: [law for law in listed if name in law] for name in (ORIGINAL, COPY, "test_cases")}

    told = _run(program, *laws, "-k", f"({COPY} or test_cases) and not test_plain_requests")

    assert len(of[COPY]) == len(of[ORIGINAL]) > 0
    assert f"{len({*of[COPY], *of['test_cases']})} passed" in told


def test_a_client_of_a_fourth_dialect_is_answered_at_its_paths(program: Path) -> None:
    told, asked = json.loads(_run(program, "-c", ASK).splitlines()[-1])
    status, said = ({name: reply[part] for name, reply in told.items()} for part in (0, 1))

    assert status == {
        "whole": 200, "stream": 200, "mounted": 200, "refused": 400, "no object": 400,
        "no model": 404, "no action": 404, "no method": 405, "no path": 404,
    }  # fmt: skip
    for name in ("whole", "mounted"):
        assert json.loads(said[name])["choices"][0]["message"]["content"]
    assert json.loads(said["whole"])["model"] == "demo/demo"
    assert said["stream"].rstrip().endswith("data: [DONE]")
    assert json.loads(said["refused"])["error"]["param"] == "messages"
    assert "café:7b" in json.loads(said["no model"])["error"]["message"]
    assert all(json.loads(said[name])["error"]["type"] for name in ("no action", "no method", "no path"))
    assert asked[:2] == [["demo/demo", False, ""], ["demo", False, ""]]
    assert ["demo/demo", True, "my-session"] in asked  # written when its stream is over
