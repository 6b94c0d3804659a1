"""The machine that the commands under test run on."""

from __future__ import annotations

from pathlib import Path

from click.testing import CliRunner, Result

from app.cli import main


class Machine:
    """A folder to run commands in. `run` answers click's result: exit code, stdout and stderr."""

    def __init__(self, folder: Path) -> None:
        self.home = folder / "home"
        self.folder = folder / "work"
        self.home.mkdir()
        self.folder.mkdir()

    def run(self, *arguments: str, **environ: str) -> Result:
        return CliRunner(env=environ).invoke(main, arguments)

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path
