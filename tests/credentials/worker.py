"""One process of a gateway that needs a credential; tests start several, and kill some.

Arguments: the provider's settings as JSON, how many threads ask at once, and the step at which to die (0: never).
It prints the tokens that its requests got, as a JSON list.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import msgspec
import requests

from app.credentials.sources import open_source
from app.settings import ProviderSettings

# Every system call by which a save reaches the disk.
STEPS = ("open", "fdopen", "fsync", "replace", "unlink", "fchown")

DIED = 9


def main() -> None:
    settings = msgspec.json.decode(sys.argv[1], type=ProviderSettings)
    folder = Path(settings.token_file or settings.credentials_file or "").parent
    source = open_source(settings, {"XDG_RUNTIME_DIR": str(folder)}, folder, requests.Session)
    assert source is not None
    # Everything is imported and connected before the first step counts.
    die_at_step(int(sys.argv[3]))
    count = int(sys.argv[2])
    with ThreadPoolExecutor(count) as pool:
        tokens = list(pool.map(lambda _: source.snapshot().access_token, range(count)))
    print(json.dumps(tokens))


def die_at_step(fatal: int) -> None:
    taken = 0

    def counted(step: Callable[..., Any]) -> Callable[..., Any]:
        def take(*arguments: Any, **options: Any) -> Any:
            nonlocal taken
            taken += 1
            if taken == fatal:
                os._exit(DIED)
            return step(*arguments, **options)

        return take

    for name in STEPS:
        setattr(os, name, counted(getattr(os, name)))


if __name__ == "__main__":
    main()
