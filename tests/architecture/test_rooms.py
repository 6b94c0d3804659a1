"""The rooms: who may import whom, and that each is drawn in the picture."""

from __future__ import annotations

import ast
import configparser
import json
import logging
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from importlinter.cli import lint_imports

ROOT = Path(__file__).parents[2]
MODULES = sorted((ROOT / "app").rglob("*.py"))
FOLDERS = sorted({path.parent for path in MODULES})
ROOMS = sorted(path for path in (ROOT / "app").iterdir() if path.is_dir() and (path / "__init__.py").is_file())


def name(path: Path) -> str:
    return str(path.relative_to(ROOT))


@pytest.fixture
def own_loggers() -> Iterator[None]:
    """The linter sets up logging for a program of its own, which silences every logger that is there already."""
    yield
    for name in logging.root.manager.loggerDict:
        logging.getLogger(name).disabled = False


@pytest.mark.usefixtures("own_loggers")
def test_the_import_contracts_hold() -> None:
    assert lint_imports(config_filename=str(ROOT / "setup.cfg"), no_cache=True) == 0


def test_wsgi_imports_nothing_of_ours_but_the_application() -> None:
    tree = ast.parse((ROOT / "wsgi.py").read_text())

    imported = {node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}

    assert {module for module in imported if module.partition(".")[0] == "app"} == {"app"}


@pytest.mark.parametrize("room", ROOMS, ids=name)
def test_each_room_is_drawn_in_the_architecture(room: Path) -> None:
    assert f"`app/{room.name}/`" in (ROOT / "docs" / "architecture.md").read_text()


def test_the_picture_of_the_architecture_is_the_contract() -> None:
    settings = configparser.ConfigParser()
    settings.read(ROOT / "setup.cfg")
    layers = settings["importlinter:contract:floors"]["layers"].strip().splitlines()
    picture = (ROOT / "docs" / "architecture.md").read_text().partition("```")[2].partition("```")[0]

    drawn = [re.findall(r"(\w+)(?:/|\.py)(?!\w)", line) for line in picture.strip().splitlines()]

    assert [[each for each in row if each != "__init__"] for row in drawn] == [
        layer.replace("|", " ").split() for layer in layers
    ]


@pytest.mark.parametrize("module", [path for path in MODULES if path.name != "__init__.py"], ids=name)
def test_each_module_says_first_what_it_is(module: Path) -> None:
    said = ast.get_docstring(ast.parse(module.read_text())) or ""

    assert said.partition("\n\n")[0].rstrip().endswith((".", ":", "?")), said


@pytest.mark.parametrize("room", [path / "__init__.py" for path in ROOMS], ids=name)
def test_the_door_of_a_room_holds_its_rule_and_no_logic(room: Path) -> None:
    tree = ast.parse(room.read_text())

    assert ast.get_docstring(tree)
    rest = [node for node in tree.body[1:] if not isinstance(node, ast.Import | ast.ImportFrom)]
    assert all(isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__" for node in rest)


@pytest.mark.parametrize("folder", FOLDERS, ids=name)
def test_no_folder_holds_more_modules_than_a_newcomer_can_survey(folder: Path) -> None:
    assert len(list(folder.glob("*.py"))) <= 16, "put those that belong together in a folder of their own"


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_no_module_is_too_long_to_read_at_once(module: Path) -> None:
    assert len(module.read_text().splitlines()) <= 600


# Functions of more than 50 lines, each with its reason.
LONG = {
    "app/cli/serving/serve.py serve": "the options of a command",
    "app/gateway/delivery.py deliver_stream": "the loop of a stream",
}
# Functions that branch more than ten times, as McCabe counts, each with its reason.
KINDS, CHEAPEST = "one case for each kind", "the cheapest look first, which everything takes that passes"
BRANCHING = {
    "app/adaptation/features.py find_in_turns": "one pass over a history",
    "app/adaptation/features.py find_settings": "one question for each feature",
    "app/adaptation/media/media.py _adapt": KINDS,
    "app/adaptation/media/media.py _adapt_file": KINDS,
    "app/adaptation/tools/pairing.py _is_in_order": CHEAPEST,
    "app/conversation/tokens/estimate.py _read_blocks": KINDS,
    "app/dialects/anthropic_messages/content/blocks.py _take": KINDS,
    "app/dialects/anthropic_messages/content/blocks.py _write": KINDS,
    "app/dialects/anthropic_messages/response_renderer.py _write_block": KINDS,
    "app/dialects/anthropic_messages/stream_parser.py _add": KINDS,
    "app/dialects/anthropic_messages/stream_parser.py _take": KINDS,
    "app/dialects/anthropic_messages/stream_renderer.py _take": KINDS,
    "app/dialects/error_kinds.py judge_error": "the surest sign first",
    "app/dialects/foreign/fields.py mend_fields": "field by field",
    "app/dialects/foreign/pieces.py read_call_or_result": KINDS,
    "app/dialects/openai_chat/messages/parts.py read_part": KINDS,
    "app/dialects/openai_chat/messages/odd_messages.py has_odd_messages": CHEAPEST,
    "app/dialects/openai_chat/passing_response.py _mend": CHEAPEST,
    "app/dialects/openai_chat/request_parser.py _read_reasoning": "each server has a spelling of its own",
    "app/dialects/openai_responses/items/content.py render_parts": KINDS,
    "app/dialects/openai_responses/request_renderer.py render_request": "field by field",
    "app/dialects/openai_responses/stream_parser.py _take": KINDS,
    "app/gateway/delivery.py deliver_stream": "the loop of a stream",
    "app/transport/exchange.py read_part": "the loop of a stream",
}


def test_no_function_is_long_without_a_reason() -> None:
    long = set()
    for module in MODULES:
        for node in ast.walk(ast.parse(module.read_text())):
            if isinstance(node, ast.FunctionDef):
                code = node.body[1:] if ast.get_docstring(node) is not None and len(node.body) > 1 else node.body
                if len({*range(node.lineno, node.body[0].lineno), *range(code[0].lineno, node.end_lineno + 1)}) > 50:
                    long.add(f"{name(module)} {node.name}")

    assert long == LONG.keys(), "make it shorter, or say why not in LONG"


def test_no_function_branches_much_without_a_reason() -> None:
    counted = ("--isolated", "--select", "C901", "--config", "lint.mccabe.max-complexity=10", "--output-format", "json")
    run = subprocess.run([sys.executable, "-m", "ruff", "check", *counted, "app"], cwd=ROOT, capture_output=True)

    found = {f"{name(Path(each['filename']))} {each['message'].split('`')[1]}" for each in json.loads(run.stdout)}

    assert found == BRANCHING.keys(), "make it plainer, or say why not in BRANCHING"


# Rooms that serve every dialect alike, and know none by its name. What only one dialect's clients have is in a folder
# of its own.
_CORE = (
    "app/adaptation",
    "app/conversation",
    "app/blueprints/api.py",
    "app/gateway",
    "app/routing",
    "app/server",
    "app/transport",
    "app/runtime.py",
    "app/services.py",
)
_OWN_FOLDERS = ("app/gateway/responses_api", "app/gateway/endpoints")
_NAMES = "anthropic_messages|openai_chat|openai_responses|openai_completions"
_DIALECT_NAME = re.compile(rf"""["'](?:{_NAMES})["']|NAME [!=]=""")


@pytest.mark.parametrize("module", MODULES, ids=name)
def test_the_core_asks_no_dialect_for_its_name(module: Path) -> None:
    place = name(module)
    if not place.startswith(_CORE) or place.startswith(_OWN_FOLDERS):
        return

    assert _DIALECT_NAME.findall(module.read_text()) == []
