"""Some folders here take minutes, npm or root, so they run only where they are named."""

from __future__ import annotations

from pathlib import Path

import pytest

HERE = Path(__file__).parent
# Each by the target of make that is called like it; the site by `make docs`.
HEAVY = tuple(HERE / name for name in ("cloudflare", "container", "machine", "site"))


def pytest_ignore_collect(collection_path: Path, config: pytest.Config) -> bool | None:
    heavy = [folder for folder in HEAVY if collection_path.is_relative_to(folder)]
    if not heavy:
        return None
    named = [(config.invocation_params.dir / argument.partition("::")[0]).resolve() for argument in config.args]
    return None if any(path.is_relative_to(heavy[0]) for path in named) else True
