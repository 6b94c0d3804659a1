"""What an upstream sends without end, or packed small, ends at a limit; and the memory comes back."""

from __future__ import annotations

import contextlib
import gzip
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import brotli
import pytest
import zstandard

from tests.hardening.gateway import PATHS, PROVIDERS, Attacked, error_of, question
from tests.hardening.upstreams import BEGINNINGS, PLAIN, SSE, TEXTS, wire
from tests.support.fake_upstream import CLOSE, FakeUpstream, Piece, Reply, raw

MIB = 1 << 20
LIMITS = "[limits]\nreply_mb = 16\nstream_mb = 24\nevent_mb = 4\nerror_kb = 64\n"
# What one reply may add to a worker: its limit two and a half times, and what the interpreter keeps.
MAX_GROWTH = 16 * 2.5 + 12
GIANT = 1024 * MIB


def zeros(pack: Callable[[bytes], bytes], end: Callable[[], bytes]) -> bytes:
    """A gibibyte of the same byte, packed."""
    block = b" " * MIB
    return b"".join([*(pack(block) for _ in range(GIANT // MIB)), end()])


def deflate_bomb(bits: int) -> bytes:
    packer = zlib.compressobj(9, zlib.DEFLATED, bits)
    return zeros(packer.compress, packer.flush)


def zstd_bomb() -> bytes:
    packer = zstandard.ZstdCompressor(19).compressobj()
    return zeros(packer.compress, packer.flush)


def brotli_bomb() -> bytes:
    packer = brotli.Compressor(quality=5)
    return zeros(packer.process, packer.finish)


BOMBS: dict[str, Callable[[], bytes]] = {
    "gzip": lambda: deflate_bomb(31),
    "deflate": lambda: deflate_bomb(15),
    "zstd": zstd_bomb,
    "br": brotli_bomb,
    "gzip, gzip": lambda: gzip.compress(deflate_bomb(31)),
}


@pytest.fixture(scope="module")
def gateway(lasting_upstream: FakeUpstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Attacked]:
    with Attacked(tmp_path_factory.mktemp("memory"), lasting_upstream.url, more=LIMITS, max_attempts=1) as process:
        yield process


class Peak:
    """The most memory, in MiB, that all processes of a gateway together had while it was watched."""

    def __init__(self, gateway: Attacked) -> None:
        self._pids = [gateway.process.pid, *children_of(gateway.process.pid)]
        self.before = self.now()
        self.maximum = self.before
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def now(self) -> float:
        return sum(resident(pid) for pid in self._pids)

    def __enter__(self) -> Peak:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._stop.wait(0.005):
            self.maximum = max(self.maximum, self.now())


def children_of(pid: int) -> list[int]:
    text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in text.split()]


def resident(pid: int) -> float:
    with contextlib.suppress(OSError, IndexError):
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4096 / MIB
    return 0.0


def ask(gateway: Attacked, client: str, speaks: str, *, stream: bool) -> tuple[int, bytes]:
    asked = question(client, model=f"{PROVIDERS[speaks]}/m", stream=stream)
    return gateway.ask(PATHS[client], asked, seconds=60.0)


def watch(gateway: Attacked, figure: Callable[..., None], name: str, act: Callable[[], None]) -> None:
    with Peak(gateway) as peak:
        act()
    growth = peak.maximum - peak.before
    figure(f"memory added by a reply: {name} (limit 16 MiB)", f"{growth:.0f} MiB", f"{MAX_GROWTH:.0f} MiB")
    assert growth < MAX_GROWTH
    # An allocator gives back late, and not all.
    assert peak.now() - peak.before < MAX_GROWTH * 0.75


@pytest.mark.parametrize("encoding", BOMBS)
def test_a_bomb_is_stopped_while_it_is_unpacked(
    encoding: str, gateway: Attacked, upstream: FakeUpstream, figure: Callable[..., None]
) -> None:
    packed = BOMBS[encoding]()
    upstream.script(raw(wire(packed, f"content-encoding: {encoding}")))

    def attack() -> None:
        for client in PATHS:
            status, answer = ask(gateway, client, "openai_chat", stream=False)
            assert (status, "unpacks to more than 4 MiB" in error_of(answer, client)["message"]) == (502, True)

    watch(gateway, figure, f"{len(packed) >> 10} KiB of {encoding}", attack)


@pytest.mark.parametrize("stream", [False, True], ids=["whole", "streamed"])
def test_an_endless_whole_answer_ends_at_its_limit(
    stream: bool, gateway: Attacked, upstream: FakeUpstream, figure: Callable[..., None]
) -> None:
    upstream.script(raw(PLAIN, *[b" " * MIB] * 1000, CLOSE))

    def attack() -> None:
        for client in PATHS:
            status, answer = ask(gateway, client, client, stream=stream)
            assert (status, "16 MiB" in error_of(answer, client)["message"]) == (502, True)

    watch(gateway, figure, f"an endless answer, stream {stream}", attack)


@pytest.mark.parametrize("speaks", PATHS)
def test_an_endless_stream_to_a_client_that_wants_it_whole_ends_at_its_limit(
    speaks: str, gateway: Attacked, upstream: FakeUpstream, figure: Callable[..., None]
) -> None:
    block = TEXTS[speaks].replace(b"%s", b"x" * 1000) * 500
    upstream.script(raw(SSE, BEGINNINGS[speaks], *[block] * 1000, CLOSE))

    def attack() -> None:
        for client in PATHS:
            status, answer = ask(gateway, client, speaks, stream=False)
            assert (status, "16 MiB" in error_of(answer, client)["message"]) == (502, True)

    watch(gateway, figure, f"an endless stream of {speaks}, collected", attack)


@pytest.mark.parametrize("speaks", PATHS)
@pytest.mark.parametrize("line", [b"x" * 65536, b'data: "' + b"y" * 60000, b"data: z\n" * 8000, b"\rq"],
                         ids=["a line", "a line of data", "an event of many lines", "carriage returns"])  # fmt: skip
def test_an_event_that_never_ends_is_an_error_in_every_dialect(
    speaks: str, line: bytes, gateway: Attacked, upstream: FakeUpstream, figure: Callable[..., None]
) -> None:
    pieces: tuple[Piece, ...] = (SSE, BEGINNINGS[speaks], *[line * (MIB // len(line))] * 100, CLOSE)
    upstream.script(raw(*pieces))

    def attack() -> None:
        for client in PATHS:
            status, answer = ask(gateway, client, speaks, stream=True)
            assert status in (200, 502)
            assert b"4 MiB" in answer, answer[-300:]

    watch(gateway, figure, f"an endless event of {speaks}: {line[:7]!r}", attack)


def test_a_stream_that_goes_on_forever_ends_with_an_error(
    gateway: Attacked, upstream: FakeUpstream, figure: Callable[..., None]
) -> None:
    block = TEXTS["openai_chat"].replace(b"%s", b"x" * 1000) * 500
    upstream.script(raw(SSE, *[block] * 1000, CLOSE))

    def attack() -> None:
        for client in PATHS:
            status, answer = ask(gateway, client, "openai_chat", stream=True)
            assert status == 200
            assert b"24 MiB" in answer[-1000:]

    watch(gateway, figure, "a stream without end", attack)


def test_of_an_endless_error_the_beginning_is_read(gateway: Attacked, upstream: FakeUpstream) -> None:
    head = b"HTTP/1.1 429 Too Many\r\ncontent-type: text/plain\r\nretry-after: 9\r\n\r\n"
    upstream.script(raw(head, b"too much at once " * 1000, *[b" " * MIB] * 500, CLOSE))

    for client in PATHS:
        status, answer = ask(gateway, client, "openai_chat", stream=False)

        assert status == 429
        assert error_of(answer, client)["message"].startswith("too much at once")


def test_an_upstream_that_is_left_at_a_limit_is_disconnected(gateway: Attacked, upstream: FakeUpstream) -> None:
    upstream.script(Reply((b" " * (17 * MIB), 30.0), headers={"content-type": "application/json"}))

    ask(gateway, "openai_chat", "openai_chat", stream=False)

    upstream.wait_until_left(0, 10.0)
