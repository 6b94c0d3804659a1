"""A real browser: Debian's Chromium without a window, driven over the WebDriver protocol (W3C)."""

from __future__ import annotations

import base64
import contextlib
import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Any, ClassVar, Self, TypeVar

import requests

from tests.support.artifacts import artifacts_folder, name_of_test
from tests.support.clock import wait_until

PROGRAM = shutil.which("chromium")
DRIVER = shutil.which("chromedriver")

T = TypeVar("T")

# It talks to this machine only, and finds no other by name.
OPTIONS = [
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE localhost, EXCLUDE 127.0.0.1",
]

_TIMEOUT = 60  # seconds for one step; pages that load are awaited within it
_ELEMENT = "element-6066-11e4-a52e-4f735466cecf"  # the protocol's key for a reference to an element


class BrowserError(Exception):
    """What the browser could not do."""


class Chromium:
    """One browser with an empty profile in `folder`, to be used in a `with`."""

    running: ClassVar[set[Chromium]] = set()

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def __enter__(self) -> Self:
        command = [str(DRIVER), "--port=0"]
        self._driver = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        assert self._driver.stdout is not None
        said = (re.search(r"started successfully on port (\d+)", line) for line in self._driver.stdout)
        port = next(found.group(1) for found in said if found)
        options = {"binary": PROGRAM, "args": [*OPTIONS, f"--user-data-dir={self._folder}"]}
        told = {"browser": "ALL", "performance": "ALL"}
        wanted = {"capabilities": {"alwaysMatch": {"goog:chromeOptions": options, "goog:loggingPrefs": told}}}
        self._session = f"http://127.0.0.1:{port}/session"
        try:
            self._session += "/" + self._do("POST", "", wanted)["sessionId"]
        except BaseException:
            self._end()
            raise
        self.running.add(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self.keep_picture()
        self.running.discard(self)
        with contextlib.suppress(requests.RequestException):
            self._do("DELETE", "")
        self._end()

    def keep_picture(self) -> None:
        """Leaves what the page shows, for whoever wants to know why the current test failed."""
        with contextlib.suppress(requests.RequestException, BrowserError):
            folder = artifacts_folder("failures")
            number = len(list(folder.glob(f"{name_of_test()}*.png"))) + 1
            (folder / f"{name_of_test()}-{number}.png").write_bytes(self.take_picture())

    @property
    def address(self) -> str:
        """Where the current tab ended, even where nobody answered."""
        return str(self._do("GET", "/url"))

    @property
    def title(self) -> str:
        return str(self._do("GET", "/title"))

    @property
    def text(self) -> str:
        """What a user reads on the page."""
        return str(self._do("GET", f"/element/{self._find('body')}/text"))

    def open(self, url: str) -> None:
        """Go there; where nobody answers, the browser says so to its user and that is no error here."""
        try:
            self._do("POST", "/url", {"url": url})
        except BrowserError as error:
            if "net::ERR_" not in str(error):
                raise

    def click(self, selector: str) -> None:
        """Click what a CSS selector finds and what loads another page, and wait for that page."""
        page = self._find("html")
        self._click(selector)
        _await(lambda: self._is_gone(page))

    def type(self, selector: str, text: str) -> None:
        self._do("POST", f"/element/{self._find(selector)}/value", {"text": text})

    def follow(self, selector: str, wanted: str) -> str:
        """Click a link that opens a tab of its own, and close that tab when its address has `wanted` in it; gives
        that address."""
        (here,) = self._do("GET", "/window/handles")
        self._click(selector)
        there = _await(lambda: [tab for tab in self._do("GET", "/window/handles") if tab != here])
        self._do("POST", "/window", {"handle": there[0]})
        address = _await(lambda: self.address if wanted in self.address else "")
        self._do("DELETE", "/window")
        self._do("POST", "/window", {"handle": here})
        return address

    def run(self, script: str, *arguments: Any) -> Any:
        """What the body of a function of JavaScript returns."""
        return self._do("POST", "/execute/sync", {"script": script, "args": list(arguments)})

    def wait(self, script: str) -> Any:
        """What a script returns, once that is something."""
        return _await(lambda: self.run(script))

    def resize(self, width: int, height: int) -> None:
        """The size of the page, and not of a window around it."""
        self._tell("Emulation.setDeviceMetricsOverride", width=width, height=height, deviceScaleFactor=1, mobile=False)

    def prefer(self, scheme: str) -> None:
        """Dark or light."""
        self._tell("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])

    def allow_scripts(self, allowed: bool) -> None:
        """Whether pages may run scripts."""
        self._tell("Emulation.setScriptExecutionDisabled", value=not allowed)

    def take_picture(self, form: str = "png") -> bytes:
        """The page as `png`, or as `webp`, which takes a quarter of the room."""
        quality = {} if form == "png" else {"quality": 80}
        return base64.b64decode(self._tell("Page.captureScreenshot", format=form, **quality)["data"])

    def read_log(self, kind: str) -> list[dict[str, Any]]:
        """What came since the last look: `browser` has errors and warnings, `performance` all requests."""
        entries: list[dict[str, Any]] = self._do("POST", "/se/log", {"type": kind})
        return entries

    def _tell(self, command: str, **arguments: Any) -> Any:
        return self._do("POST", "/goog/cdp/execute", {"cmd": command, "params": arguments})

    def _end(self) -> None:
        self._driver.terminate()
        self._driver.communicate()

    def _click(self, selector: str) -> None:
        self._do("POST", f"/element/{self._find(selector)}/click", {})

    def _is_gone(self, element: str) -> bool:
        try:
            self._do("GET", f"/element/{element}/name")
        except BrowserError as error:
            return "stale element" in str(error)
        return False

    def _find(self, selector: str) -> str:
        found = self._do("POST", "/element", {"using": "css selector", "value": selector})
        return str(found[_ELEMENT])

    def _do(self, method: str, path: str, body: dict[str, Any] | None = None) -> Any:
        reply = requests.request(method, self._session + path, json=body, timeout=_TIMEOUT)
        value = reply.json()["value"]
        if not reply.ok:
            raise BrowserError(f"{value['error']}: {value['message']}")
        return value


def _await(look: Callable[[], T]) -> T:
    """What `look` sees, once it sees anything."""
    return wait_until(look, _TIMEOUT, "what the page should show")
