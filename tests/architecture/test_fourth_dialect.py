"""A fourth dialect comes in by the doors that docs/adding-a-dialect.md names, and by no other.

It is made here: a copy of the program in which one dialect stands a second time, under another name and other paths.
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
PATHS = {"/v1/chat/completions": "/v4/talk", '"/chat/completions"': '"/talk"'}

ASK = """
import json
from pathlib import Path
from app import create_app
from app.settings.loading import load_settings

client = create_app(load_settings(Path("dragoman.toml"), {}, {})).test_client()
said = {"messages": [{"role": "user", "content": "hello"}], "model": "demo/demo"}
whole = client.post("/v4/talk", json=said)
stream = client.post("/talk", json={**said, "stream": True})
refused = client.post("/v4/talk", json={**said, "messages": 5})
unknown = client.get("/v4/talk/nothing")
print(json.dumps([[reply.status_code, reply.get_data(as_text=True)] for reply in (whole, stream, refused, unknown)]))
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
    (root / "dragoman.toml").write_text('[providers.demo]\nkind = "demo"\n')

    # 1. the folder
    shutil.copytree(root / "app" / "dialects" / ORIGINAL, root / "app" / "dialects" / COPY)
    for module in (root / "app" / "dialects" / COPY).rglob("*.py"):
        module.write_text(module.read_text().replace(ORIGINAL, COPY))
    traits = root / "app" / "dialects" / COPY / "traits.py"
    _replace(traits, 'path_marks=("/chat/completions",)', 'path_marks=("/talk",)')
    # 2. the registry
    registry = root / "app" / "dialects" / "registry.py"
    _replace(registry, "import anthropic_messages, ", f"import {COPY}, anthropic_messages, ")
    _replace(registry, "= (anthropic_messages, ", f"= (anthropic_messages, {COPY}, ")
    # 3. the blueprint
    families = root / "app" / "blueprints" / "api_families"
    blueprint = (families / f"{ORIGINAL}.py").read_text().replace(f'"{ORIGINAL}"', f'"{COPY}"')
    for path, other in PATHS.items():
        assert path in blueprint
        blueprint = blueprint.replace(path, other)
    (families / f"{COPY}.py").write_text(blueprint)
    factory = root / "app" / "__init__.py"
    _replace(factory, "        anthropic,\n", f"        anthropic,\n        {COPY},\n")
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
    listed = re.findall(r"^\S+::.*", _run(program, *laws, "--collect-only"), re.MULTILINE)
    of = {name: [law for law in listed if name in law] for name in (ORIGINAL, COPY, "test_cases")}

    told = _run(program, *laws, "-k", f"{COPY} or test_cases")

    assert len(of[COPY]) == len(of[ORIGINAL]) > 0
    assert f"{len({*of[COPY], *of['test_cases']})} passed" in told


def test_a_client_of_a_fourth_dialect_is_answered_at_its_paths(program: Path) -> None:
    whole, stream, refused, unknown = json.loads(_run(program, "-c", ASK).splitlines()[-1])

    assert whole[0] == stream[0] == 200
    assert json.loads(whole[1])["choices"][0]["message"]["content"]
    assert stream[1].rstrip().endswith("data: [DONE]")
    assert refused[0] == 400
    assert json.loads(refused[1])["error"]["param"] == "messages"
    assert unknown[0] == 404
    assert json.loads(unknown[1])["error"]["type"]
