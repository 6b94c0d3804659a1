"""No secret leaves: whatever an upstream makes of the key that it was sent, and whatever is logged or shown."""

from __future__ import annotations

import base64
import html
import io
import json
import logging
import os
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from werkzeug.test import Client, TestResponse

from app import create_app
from app.gateway.recording.metrics import Metrics
from app.gateway.recording.telemetry.traces import describe
from app.known_secrets import MASK, KnownSecrets, known_secrets
from app.logs import LineFormatter, request_log
from app.settings import LedgerSettings, ProviderSettings, ServerSettings, Settings, find_secrets, masked
from tests.accounts.records import record
from tests.support.fake_upstream import FakeUpstream, Reply, json_reply, raw, sse

Figure = Callable[[str, object, object], None]

# One with all characters that some encoding changes, and one as vendors make them.
CANARIES = ("Kan/ary+\"key'<&>=0123456789~Zz%", "sk-proj-4f9a8b7c6d5e4f3a2b1c0d9e8f7a6b5c")
SHOWN = "QUOTED"
# The ordinary run takes a part of the pairs of a spelling and a place, `make hardening` all of them.
EACH = 1 if os.environ.get("HARDENING_CASES") else 9


def spellings(secret: str) -> dict[str, str]:
    """How an upstream may quote a key."""
    return {
        "as it is": secret,
        "in a header": f"Authorization: Bearer {secret}",
        "json": json.dumps(secret)[1:-1],
        "json twice": json.dumps(json.dumps({"key": secret}))[1:-1],
        "url": quote(secret, safe=""),
        "form": quote_plus(secret),
        "url in small letters": quote(secret, safe="").replace("%2F", "%2f").replace("%2B", "%2b"),
        "html": html.escape(secret),
        "base64": base64.b64encode(secret.encode()).decode(),
        "basic": base64.b64encode(f"u:{secret}".encode()).decode(),
        "base64, shifted": base64.b64encode(f"us:{secret}@x".encode()).decode(),
        "url-safe base64": base64.urlsafe_b64encode(f"xx{secret}".encode()).decode(),
        "hex": secret.encode().hex(),
        "hex in capitals": secret.encode().hex().upper(),
        "capitals": secret.upper(),
        "small letters": secret.lower(),
        "url twice": quote(quote(secret, safe=""), safe=""),
        "url, every character": "".join(f"%{code:02x}" for code in secret.encode()),
        "url twice, every character": "".join(f"%25{code:02X}" for code in secret.encode()),
        "html by numbers": "".join(f"&#{code};" for code in secret.encode()),
        "html by hex numbers": "".join(f"&#x{code:X};" for code in secret.encode()),
        "html twice by numbers": "".join(f"&amp;#{code:04};" for code in secret.encode()),
        "escapes of JSON": "".join(f"\\u{code:04x}" for code in secret.encode()),
        "escapes of JSON, twice": "".join(f"\\\\u{code:04X}" for code in secret.encode()),
        "escapes of programs": "".join(f"\\x{code:02x}" for code in secret.encode()),
        "octal escapes": "".join(f"\\{code:03o}" for code in secret.encode()),
        "cut at the end": secret[:20],
        "cut at the beginning": secret[-20:],
        "cut at both ends": secret[5:-5],
        "twice": secret + secret,
        **rare_spellings(secret),
    }


def rare_spellings(secret: str) -> dict[str, str]:
    """Encodings of encodings, and the notations of bytes."""
    data = secret.encode()
    codes = list(data)
    return {
        "base64 twice": in_base64(in_base64(secret)),
        "base64 twice, shifted": in_base64("x" + in_base64("us:" + secret)),
        "base64 of JSON": in_base64(json.dumps({"key": secret})),
        "base64 of a URL": in_base64("?key=" + quote(secret, safe="")),
        "base64 of hex": in_base64(data.hex()),
        "base64 in lines": base64.encodebytes(data * 3).decode(),
        "base64 of UTF-16": base64.b64encode(secret.encode("utf-16-le")).decode(),
        "base64 of UTF-16, the other way": base64.b64encode(secret.encode("utf-16-be")).decode(),
        "base32": base64.b32encode(data).decode(),
        "base32, shifted": base64.b32encode(b"u:" + data).decode().lower(),
        "hex of base64": in_base64(secret).encode().hex(),
        "hex twice": data.hex().encode().hex(),
        **{f"hex with {mark!r}": data.hex(mark) for mark in ":- ."},
        "hex with colons in capitals": data.hex(":").upper(),
        "hex in groups of four": data.hex(" ", 4),
        "numbers of hex": ", ".join(f"0x{code:02x}" for code in codes),
        "numbers": json.dumps(codes),
        "numbers without commas": " ".join(map(str, codes)),
        "UTF-16": secret.encode("utf-16-le").decode(),
        "quoted-printable": "".join(f"={code:02X}" for code in codes),
        "html by numbers, open": "".join(f"&#{code}" for code in codes),
        "html by numbers, long": "".join(f"&#{code:07};" for code in codes),
        "code points": " ".join(f"U+{code:04X}" for code in codes),
        "code points in braces": "".join(f"\\u{{{code:x}}}" for code in codes),
        "long escapes": "".join(f"\\U{code:08x}" for code in codes),
        "some escapes of JSON": "".join(f"\\u{code:04x}" if n % 3 == 0 else chr(code) for n, code in enumerate(codes)),
        "some escapes of a URL": "".join(f"%{code:02x}" if n % 4 == 0 else chr(code) for n, code in enumerate(codes)),
        "escapes of JSON in a URL": "".join(f"%5cu{code:04x}" for code in codes),
        "spread": " ".join(secret),
        "spread by nothing": "\u200b".join(secret),
        "in lines": "\\n".join(secret[start : start + 20] for start in range(0, len(secret), 20)),
        "other capitals": secret.swapcase(),
    }


def in_base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@lru_cache
def pieces_of(secret: str) -> frozenset[str]:
    """Every 15 characters in a row of any of its spellings."""
    written = [value for name, value in spellings(secret).items() if name != "in a header"]
    return frozenset(value[start : start + 15] for value in written for start in range(len(value) - 14))


def leaks(text: str, secret: str) -> list[str]:
    """What is left of any spelling that is 15 characters long."""
    pieces = pieces_of(secret)
    return [text[start : start + 15] for start in range(len(text) - 14) if text[start : start + 15] in pieces]


def event(data: object) -> bytes:
    return f"data: {json.dumps(data)}\n\n".encode()


def refusal(said: str, status: int) -> Reply:
    return json_reply(
        {"error": {"message": said, "type": "invalid_request_error", "code": said, "param": said}}, status
    )


def answers(said: str) -> dict[str, Reply]:
    """Where an upstream may put what it quotes."""
    delta = {"id": "c", "object": "chat.completion.chunk", "created": 1, "model": "m",
             "choices": [{"index": 0, "delta": {"role": "assistant", "content": "a"}}]}  # fmt: skip
    error = {"error": {"message": said, "type": "server_error", "code": said, "param": said}}
    plain = json_reply({"error": {"message": "no"}}, 429)
    head = "".join(char if " " <= char <= "~" else " " for char in said)
    named = "".join(char for char in said if (char.isascii() and char.isalnum()) or char in "!#$%&'*+-.^_`|~")
    return {
        "400": refusal(said, 400),
        "401": refusal(said, 401),
        "403": refusal(said, 403),
        "404": refusal(said, 404),
        "429": refusal(said, 429),
        "500": refusal(said, 500),
        "an error with status 200": json_reply(error),
        "an error with status 200 and choices": json_reply({**error, "choices": [], "id": "x"}),
        "a list": json_reply([{"error": {"message": said}}], 400),
        "detail": json_reply({"detail": [{"loc": ["body", said], "msg": said, "type": said}]}, 422),
        "a page": Reply((f"<html><title>{said}</title>{said}</html>".encode(),), 502, {"content-type": "text/html"}),
        "plain text": Reply((said.encode(),), status=400, headers={"content-type": "text/plain"}),
        "no JSON, status 200": Reply((f"oops {said}".encode(),), headers={"content-type": "application/json"}),
        "another object": json_reply({"object": said, "message": said}),
        "an event first": sse(event(error)),
        "an event later": sse(event(delta), event(error)),
        "a detail in an event": sse(event(delta), event({"detail": said})),
        "an object called error": sse(event(delta), event({"object": "error", "message": said, "code": 401})),
        "errors": sse(event(delta), event({"errors": [{"message": said}]})),
        "an event of an unknown type": sse(event(delta), event({"type": "invalid_request_error", "message": said})),
        "an event named by it": sse(event(delta), 0.02, f"event: {head}\ndata: {{}}\n\n".encode()),
        "a comment": sse(event(delta), 0.02, f": {head}\n\n".encode()),
        "a comment first": sse(f": {head}\n\n".encode(), event(delta)),
        "an id and a time": sse(event(delta), 0.02, f"id: {head}\nretry: {head}\n\n".encode()),
        "no event": sse(event(delta), 0.02, said.encode() + b"\n\n"),
        "an error without a field": sse(event(delta), 0.02, event({"error": 401, "message": said})),
        "an error in capitals": sse(event(delta), 0.02, event({"ERROR": said})),
        "an error beside a null": json_reply({"error": None, "message": said}),
        "a typed event": sse(event(delta), b"event: error\n" + event({"type": "error", "message": said, **error})),
        "a failed response": sse(event({"type": "response.failed", "response": {"status": "failed", **error}})),
        "headers": Reply(plain.pieces, status=429, headers={"content-type": "application/json", "retry-after": head,
                   "x-ratelimit-remaining-requests": head, "x-request-id": head, "request-id": head, "location": head}),
        "names of headers": Reply(plain.pieces, status=429, headers={"content-type": "application/json",
                   f"x-ratelimit-{named}": "1", f"anthropic-ratelimit-{named}": "1", f"x-codex-{named}": "1"}),
        "other headers": Reply(plain.pieces, status=401, headers={"www-authenticate": f'Bearer realm="{head}"',
                   "set-cookie": f"k={head}", "server": head, "anthropic-organization-id": head}),
        "a trailer": raw(b"HTTP/1.1 429 No\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n"
                   b"2\r\n{}\r\n0\r\nx-ratelimit-limit: " + head.encode("latin-1") + b"\r\n\r\n"),
        "gzip": Reply((json.dumps(error).encode(),), 400, {"content-type": "application/json"}, gzip=True),
        "two parts": sse(event(delta)[:-2] + b"\n\n" + event(error)[:60], 0.02, event(error)[60:]),
        "headers of a redirect": Reply((b"",), status=302, headers={"location": f"https://x.example/?k={head}"}),
    }  # fmt: skip


CALLS: dict[str, Callable[[Client, bool], TestResponse]] = {
    "chat": lambda client, stream: client.post(
        "/v1/chat/completions",
        json={"model": "up/m", "stream": stream, "messages": [{"role": "user", "content": "hi"}]},
    ),
    "messages": lambda client, stream: client.post(
        "/v1/messages",
        json={"model": "up/m", "stream": stream, "max_tokens": 9, "messages": [{"role": "user", "content": "hi"}]},
    ),
    "responses": lambda client, stream: client.post(
        "/v1/responses", json={"model": "up/m", "stream": stream, "input": "hi", "store": False}
    ),
}


@pytest.fixture
def log(caplog: pytest.LogCaptureFixture) -> Iterator[io.BytesIO]:
    """All that the log would hold."""
    lines = io.BytesIO()
    request_log.open(lines, as_json=False)  # type: ignore[arg-type]
    yield lines
    request_log.close()


@pytest.mark.parametrize("dialect", ["openai_chat", "openai_responses", "anthropic_messages"])
def test_no_answer_of_an_upstream_tells_its_key(
    dialect: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, log: io.BytesIO, figure: Figure,
    caplog: pytest.LogCaptureFixture,
) -> None:  # fmt: skip
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    tried, leaked = 0, []
    kind = {"kind": "anthropic"} if dialect == "anthropic_messages" else {"kind": "openai", "dialect": dialect}
    formatter = LineFormatter("%(message)s")

    with FakeUpstream() as upstream:
        for secret in CANARIES:
            url = upstream.url if dialect == "anthropic_messages" else f"{upstream.url}/v1"
            provider = ProviderSettings(**kind, base_url=url, api_key=secret)  # type: ignore[arg-type]
            client = Client(create_app(Settings(server=ServerSettings(max_attempts=1), providers={"up": provider})))
            for spelling, said in spellings(secret).items():
                for turn, (place, reply) in enumerate(answers(f"{SHOWN} {said} {SHOWN}").items()):
                    if (turn + len(spelling)) % EACH:
                        continue
                    for number, (name, call) in enumerate(CALLS.items()):
                        stream = (number + len(place)) % 2 == 0
                        upstream.script(reply)
                        caplog.clear()
                        answer = call(client, stream)
                        shown = f"{answer.status} {answer.headers} {answer.get_data(as_text=True)}"
                        logged = "\n".join(formatter.format(record) for record in caplog.records)
                        tried += 1
                        if leaks(shown, secret) or leaks(logged, secret):
                            leaked.append((spelling, place, name, shown[:1500]))
            client.application.runtime.services.transport.close()
            health = client.get("/health").get_data(as_text=True)
            assert leaks(health, secret) == []
            request_log.flush()
            assert leaks(log.getvalue().decode("utf-8", "replace"), secret) == []

    assert leaked == []
    figure(f"key quoted by an upstream ({dialect}): tried / leaked", f"{tried} / 0", "0 leaked")


def test_what_is_too_short_to_be_told_from_a_word_stays() -> None:
    known = KnownSecrets()
    known.configure(["ollama", "none", "sk-1"])

    assert known.mask("the ollama server has none of sk-1") == "the ollama server has none of sk-1"


def test_renewed_tokens_are_known_and_old_ones_are_let_go() -> None:
    known = KnownSecrets()
    tokens = [f"token-{number:04d}-of-a-login-that-is-renewed" for number in range(600)]
    for token in tokens:
        known.add(token)

    assert known.mask(f"bad {tokens[-1]}!") == f"bad {MASK}!"
    assert len(known._renewed) <= 256


def test_a_header_is_masked_from_when_its_value_is_a_secret() -> None:
    known = KnownSecrets()
    known.configure([CANARIES[0]])
    headers = {"x-key": CANARIES[1], "x-count": "7", **{f"x-{number}": f"value {number:20}" for number in range(3000)}}

    assert known.mask_headers(headers) == headers
    known.add(CANARIES[1])
    assert known.mask_headers(headers) == {**headers, "x-key": MASK}


@pytest.mark.parametrize("around", ["{}", "é{}", "{}é", "1234567{}", "é1234567{}é"])
@pytest.mark.parametrize("secret", [*CANARIES, "ключ-от-всех-дверей", "abc-дверь-0123-дверь"])
def test_a_secret_is_found_in_and_of_any_alphabet(secret: str, around: str) -> None:
    known = KnownSecrets()
    known.configure([secret])

    assert known.mask(around.format(secret)) == around.format(MASK)


def test_a_clean_text_is_given_back_as_it_is() -> None:
    known = KnownSecrets()
    known.configure(CANARIES)
    data = b'{"error":{"message":"nothing to hide, \xff"}}' * 50

    assert known.mask_bytes(data) is data


SETTINGS = Settings(
    server=ServerSettings(
        api_keys=("client-key-0123456789",), proxies={"https": "http://user:proxy-pass-01@proxy.example:3128"}
    ),
    providers={
        "up": ProviderSettings(
            kind="openai",
            base_url="https://me:url-pass/with@signs-1@host.example/v1?password=query-pass-1&api-version=1",
            api_key="provider-key-1",
            headers={"Authorization": "Bearer header-pass-1", "X-Org": "acme"},
            command=("run", "--token", "argument-pass-1", "--key=argument-pass-2", "positional-pass-1"),
        )
    },
    ledger=LedgerSettings(url="postgresql://u:ledger-pass/1@db.example/x"),
)


def test_shown_settings_tell_no_secret() -> None:
    shown = json.dumps(masked(SETTINGS), default=str)

    for hidden in ("client-key", "proxy-pass", "url-pass", "signs-1", "query-pass", "provider-key", "header-pass",
                   "argument-pass", "positional-pass", "ledger-pass"):  # fmt: skip
        assert hidden not in shown, shown
    for kept in ("host.example/v1", "api-version=1", "proxy.example:3128", "--token", "db.example/x"):
        assert kept in shown


def test_the_secrets_of_settings_are_found_and_nothing_else() -> None:
    found = {value for value in find_secrets(SETTINGS) if len(value) >= 8}

    assert found == {
        "client-key-0123456789", "proxy-pass-01", "url-pass/with@signs-1", "query-pass-1", "provider-key-1",
        "Bearer header-pass-1", "header-pass-1", "argument-pass-1", "argument-pass-2", "ledger-pass/1",
    }  # fmt: skip


FORGERIES = ["\n2026/01/01 00:00:00 INFO {}", "\r\x1b[2K",
             "\x1b[31mred\x1b[0m", "\u2028next", "\u202egnp.exe", "\x9b31m",
             "\x00", "\x7f", "\u2066hidden\u2069", "\ufeff", "a\x08\x08b"]  # fmt: skip


@pytest.mark.parametrize("forged", FORGERIES, ids=ascii)
def test_a_log_line_can_be_neither_forged_nor_coloured(forged: str, log: io.BytesIO) -> None:
    formatter = LineFormatter("%(asctime)s %(message)s")
    try:
        raise ValueError(f"bad {forged} value")
    except ValueError as error:
        record = logging.LogRecord("x", logging.ERROR, "f", 1, "say %s", (forged,), (type(error), error, None))

    request_log.tell({"model": forged})
    request_log.flush()

    for text in (formatter.format(record), log.getvalue().decode().removesuffix("\n")):
        assert not any(char in text for char in forged if not char.isprintable() and char != "\n")
    assert all(line.startswith("    ") for line in formatter.format(record).splitlines()[1:])
    assert log.getvalue().count(b"\n") == 1
    assert json.loads(log.getvalue().split(b"INFO ", 1)[1])["model"] == forged


def test_a_long_value_is_cut_in_the_log() -> None:
    record = logging.LogRecord("x", logging.ERROR, "f", 1, "%s", ("y" * 1_000_000,), None)

    assert len(LineFormatter("%(message)s").format(record)) < 10_000


@pytest.mark.parametrize("secret", CANARIES)
def test_no_name_that_a_client_chose_carries_a_secret_to_metrics_or_traces(secret: str, figure: Figure) -> None:
    known_secrets.configure([secret])
    metrics = Metrics()
    told = []
    for said in spellings(secret).values():
        made = record(model=f"oca/{said}", target=f"oca/{said}", session=said, agent=f"cli/{said}", path=f"/{said}")
        metrics.take([made])
        told += [str(value) for value in describe(made).values()]

    labels = [label for traffic in metrics.count().traffic for label in traffic.labels]
    found = [text for text in (*told, *labels) if leaks(text, secret)]

    figure(
        "names with a key in metrics and traces: tried / leaked",
        f"{len(told) + len(labels)} / {len(found)}",
        "0 leaked",
    )
    assert found == []
