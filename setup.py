"""Everything is declared in setup.cfg; here stands only what an editable installation does besides."""

import compileall
from pathlib import Path

from setuptools import setup
from setuptools.command.editable_wheel import editable_wheel


class CompilingEditableWheel(editable_wheel):
    """Compiles the checkout, as installing a wheel does: without it each start compiles all modules anew where
    PYTHONDONTWRITEBYTECODE is set."""

    def run(self) -> None:
        super().run()
        compileall.compile_dir(Path(__file__).parent / "app", quiet=2)


setup(cmdclass={"editable_wheel": CompilingEditableWheel})
