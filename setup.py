"""Everything is declared in setup.cfg, but for what an editable installation does besides, and the project's address.

Where the project lives is not written in it, since a copy of it lives elsewhere (docs/decisions/project-address.md):
`make dist` says so in PROJECT_URL.
"""

import compileall
import os
import re
from pathlib import Path

from setuptools import setup
from setuptools.command.editable_wheel import editable_wheel

HERE = Path(__file__).parent
ADDRESS = os.environ.get("PROJECT_URL", "").rstrip("/")
PLACES = {
    "Homepage": "",
    "Documentation": "/tree/HEAD/docs",
    "Changelog": "/blob/HEAD/CHANGELOG.md",
    "Issues": "/issues",
    "Source": "",
}


class CompilingEditableWheel(editable_wheel):
    """Compiles the checkout, as installing a wheel does: without it each start compiles all modules anew where
    PYTHONDONTWRITEBYTECODE is set."""

    def run(self) -> None:
        super().run()
        compileall.compile_dir(HERE / "app", quiet=2)


def with_whole_links(text: str) -> str:
    """The README for a page of a package index, where links to files of the repository lead nowhere."""
    return re.sub(
        r"(!?)(\[[^\]]*\])\((?!https?:|#)([^)]+)\)",
        lambda link: f"{link[1]}{link[2]}({ADDRESS}/{'raw' if link[1] else 'blob'}/HEAD/{link[3]})",
        text,
    )


known = {
    "project_urls": {name: ADDRESS + place for name, place in PLACES.items()},
    "long_description": with_whole_links((HERE / "README.md").read_text(encoding="utf-8")),
}
setup(cmdclass={"editable_wheel": CompilingEditableWheel}, **(known if ADDRESS else {}))
