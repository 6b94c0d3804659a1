"""A gevent worker that renews a login: prints how many tokens it saw and its longest pause in seconds."""

from gevent import monkey

monkey.patch_all()

import json  # noqa: E402
import sys  # noqa: E402
import time  # noqa: E402
from pathlib import Path  # noqa: E402

import gevent  # noqa: E402
import msgspec  # noqa: E402
import requests  # noqa: E402

from app.credentials.sources import open_source  # noqa: E402
from app.settings import ProviderSettings  # noqa: E402


def main() -> None:
    settings = msgspec.json.decode(sys.argv[1], type=ProviderSettings)
    folder = Path(settings.token_file or "").parent
    source = open_source(settings, {"XDG_RUNTIME_DIR": str(folder)}, folder, requests.Session)
    assert source is not None
    longest = 0.0

    def tick() -> None:
        nonlocal longest
        last = time.monotonic()
        while True:
            gevent.sleep(0.01)
            longest, last = max(longest, time.monotonic() - last), time.monotonic()

    ticker = gevent.spawn(tick)
    first = gevent.spawn(source.snapshot)
    gevent.sleep(0.1)
    # Whoever started the renewal may leave; the others still get what it brings.
    first.kill()
    asking = [gevent.spawn(source.snapshot) for _ in range(100)]
    gevent.joinall(asking, raise_error=True)
    ticker.kill()
    print(json.dumps({"tokens": len({each.value.access_token for each in asking}), "pause": longest}))


if __name__ == "__main__":
    main()
