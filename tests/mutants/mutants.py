"""The mutants: lines of the dialects that are broken one by one, to see whether the laws notice.

A law that would pass over a broken parser or renderer protects nobody. Run with `make mutants`.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path
from typing import NamedTuple

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
DIALECTS = Path("app", "dialects")
# What the laws need, beside the program.
PARTS = ("tests/laws", "tests/support", "tests/wire", "tests/conftest.py", "setup.cfg")
# The laws that tell most mutants soonest come first.
LAWS = ("plain_requests", "requests", "streams", "speaking", "one_truth", "robustness")
TIME_LIMIT = 300.0


class Mutant(NamedTuple):
    """A line below app/dialects, and what stands in its place when it is broken. Neither has an indent."""

    file: str
    line: str
    broken: str

    @property
    def dialect(self) -> str:
        return self.file.partition("/")[0]

    def spoil(self, text: str) -> str:
        """The text of the module with the broken line. Raises ValueError where the line does not stand in it once."""
        lines = text.split("\n")
        places = [number for number, line in enumerate(lines) if self.line in (line.strip(), _without_comment(line))]
        if len(places) != 1:
            raise ValueError(f"{self.file} has {len(places)} lines, not one: {self.line}")
        indent = lines[places[0]].partition(self.line)[0]
        lines[places[0]] = indent + self.broken
        return "\n".join(lines)


def _without_comment(line: str) -> str:
    return line.partition("  #")[0].strip()


def read_mutants() -> list[Mutant]:
    return [Mutant(**row) for row in tomllib.loads((HERE / "mutants.toml").read_text())["mutants"]]


def main() -> int:
    """Break each line in a copy of the program and run the laws of its dialect there; 1 if a mutant survives.

    Words of the command line choose mutants by what their file and line hold; a word as 2/12 takes the second of
    twelve parts of them.
    """
    mutants = choose(read_mutants(), sys.argv[1:])
    survivors = []
    with tempfile.TemporaryDirectory(prefix="mutants-") as folder:
        root = Path(folder)
        copy_program(root)
        for dialect in sorted({mutant.dialect for mutant in mutants}):
            if not laws_hold(root, dialect):
                print(f"the laws of {dialect} fail before anything is broken")
                return 1
        for mutant in mutants:
            module = root / DIALECTS / mutant.file
            sound = module.read_text()
            module.write_text(mutant.spoil(sound))
            survives = laws_hold(root, mutant.dialect)
            module.write_text(sound)
            print("SURVIVES" if survives else "caught  ", mutant.file, "|", mutant.line, flush=True)
            survivors += [mutant] if survives else []
    print(f"{len(mutants)} mutants, {len(survivors)} survive")
    return 1 if survivors or not mutants else 0


def choose(mutants: list[Mutant], words: list[str]) -> list[Mutant]:
    parts = [word for word in words if re.fullmatch(r"\d+/\d+", word)]
    chosen = [mutant for mutant in mutants if all(word in " ".join(mutant) for word in words if word not in parts)]
    for part in parts:
        number, count = map(int, part.split("/"))
        chosen = chosen[(number - 1) * len(chosen) // count : number * len(chosen) // count]
    return chosen


def copy_program(root: Path) -> None:
    ignored = shutil.ignore_patterns("__pycache__")
    for part in ("app", *PARTS):
        source = ROOT / part
        (root / part).parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, root / part, ignore=ignored) if source.is_dir() else shutil.copy(source, root / part)


def laws_hold(root: Path, dialect: str) -> bool:
    """Whether all laws of a dialect pass. The examples are the same each time."""
    # Bytecode is found by the time and size of its module, which a mutant may share with the one before.
    environment = {**os.environ, "PYTHONPATH": str(root), "PYTHONDONTWRITEBYTECODE": "1", "CI": "1"}
    laws = [f"tests/laws/test_{name}.py" for name in LAWS]
    command = [sys.executable, "-m", "pytest", "-q", "-x", "-p", "no:cacheprovider", "-p", "no:xdist", "-k", dialect]
    run = subprocess.run(
        [*command, *laws], cwd=root, env=environment, capture_output=True, text=True, timeout=TIME_LIMIT, check=False
    )
    if run.returncode not in (0, 1):  # a mutant that does not even import shows nothing
        raise SystemExit(f"the laws of {dialect} were not run:\n{run.stdout[-2000:]}{run.stderr[-2000:]}")
    return run.returncode == 0


if __name__ == "__main__":
    sys.exit(main())
