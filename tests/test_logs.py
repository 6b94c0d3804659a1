"""The log: levels, forms, and no secret in any of them."""

from __future__ import annotations

import datetime
import io
import json
import logging
import re

import pytest

from app.logs import RequestLog, request_log, start_logs
from app.logs.console import describe_request, wants_colours
from app.logs.reading import read_line
from app.settings import ServerSettings
from app.settings.tables import LogLevel


def test_info_goes_to_standard_output_and_trouble_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    start_logs(ServerSettings(log_level="info", log_format="text"))

    logging.getLogger("dragoman").info("all is well")
    logging.getLogger("dragoman").warning("nothing is well")

    said = capsys.readouterr()
    assert "INFO all is well" in said.out
    assert "WARNING nothing is well" in said.err
    assert "nothing" not in said.out


@pytest.mark.parametrize("form", ["text", "json"])
def test_what_looks_like_a_credential_is_masked(capsys: pytest.CaptureFixture[str], form: str) -> None:
    start_logs(ServerSettings(log_format=form))  # type: ignore[arg-type]

    logging.getLogger("dragoman").error('refused "sk-abcdefghijkl" and Bearer abcdefghijklmnop')

    said = capsys.readouterr().err
    assert "abcdefghijkl" not in said
    assert "[masked]" in said
    if form == "json":
        assert json.loads(said)["message"].startswith('refused "[masked]"')


def test_the_lines_of_requests_are_whole_and_masked() -> None:
    file = io.BytesIO()
    log = RequestLog()
    log.open(file, as_json=True)

    log.tell({"id": "1", "model": "sk-abcdefghijkl"})
    log.tell({"id": "2"})
    before = file.getvalue()
    log.flush()

    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert before == b""
    assert [line["id"] for line in lines] == ["1", "2"]
    assert lines[0]["model"] == "[masked]"


@pytest.mark.parametrize("as_json", [True, False])
def test_a_request_has_its_time_to_the_millisecond(monkeypatch: pytest.MonkeyPatch, as_json: bool) -> None:
    file = io.BytesIO()
    log = RequestLog()
    log.open(file, as_json=as_json)

    for moment in (1000000000.0078125, 1000000000.75, 1000000001.5):
        monkeypatch.setattr("app.logs.log.time.time", lambda now=moment: now)
        log.write([(b'{"id":"1"}', logging.INFO)])
    log.flush()

    times = re.findall(r"2001-09-09T[^ \"]*", file.getvalue().decode())
    assert times == ["2001-09-09T01:46:40.007Z", "2001-09-09T01:46:40.750Z", "2001-09-09T01:46:41.500Z"]


def test_lines_before_one_that_cannot_be_made_are_logged() -> None:
    file = io.BytesIO()
    log = RequestLog()
    log.open(file, as_json=False)

    with pytest.raises(ZeroDivisionError):
        log.write((b'{"id":%d}' % (6 // number), logging.INFO) for number in (3, 2, 0, 1))
    log.flush()

    assert re.findall(rb"{.*", file.getvalue()) == [b'{"id":2}', b'{"id":3}']


def test_many_waiting_lines_are_written_without_being_asked_for() -> None:
    file = io.BytesIO()
    log = RequestLog()
    log.open(file, as_json=False)

    for _ in range(300):
        log.write([(b"{}", logging.INFO)])

    assert file.getvalue().count(b"\n") >= 256


RFC_3339 = re.compile(r"20[0-9]{2}-[0-9]{2}-[0-9]{2}T[0-9:]{8}\.[0-9]{3}Z")


def test_lines_are_flat_objects_with_a_time_that_everybody_reads(capsysbinary: pytest.CaptureFixture[bytes]) -> None:
    start_logs(ServerSettings())

    logging.getLogger("dragoman").info("all is well")
    request_log.tell({"id": "1", "model": "m"}, logging.WARNING)
    request_log.close()

    lines = [json.loads(line) for line in capsysbinary.readouterr().out.splitlines()]
    assert [line["level"] for line in lines] == ["INFO", "WARNING"]
    assert lines[0]["message"] == "all is well"
    assert lines[1]["id"] == "1"
    assert all(RFC_3339.fullmatch(line["time"]) for line in lines)


@pytest.mark.parametrize(("level", "told"), [("debug", [1, 2, 3]), ("info", [2, 3]), ("warn", [3]), ("error", [])])
def test_a_level_holds_for_the_lines_of_requests_too(
    capsysbinary: pytest.CaptureFixture[bytes], level: LogLevel, told: list[int]
) -> None:
    start_logs(ServerSettings(log_level=level))

    for number, own in enumerate((logging.DEBUG, logging.INFO, logging.WARNING), 1):
        request_log.tell({"id": number}, own)
    request_log.close()

    assert [json.loads(line)["id"] for line in capsysbinary.readouterr().out.splitlines()] == told


LINE = {
    "method": "POST",
    "path": "/v1/messages",
    "model": "claude-sonnet-4-6",
    "upstream": "local/qwen3:8b",
    "status": 200,
    "terminal": "completed",
    "stream": True,
    "ttfb_ms": 300,
    "ms": 1234,
    "tokens_in": 25,
    "tokens_cached": 10,
    "tokens_out": 5,
}
NOW = datetime.datetime(2026, 11, 29, 23, 1, 7)


def test_a_person_reads_one_short_line_a_request() -> None:
    assert describe_request(LINE, NOW, colours=False) == (
        "23:01:07  POST /v1/messages  claude-sonnet-4-6 -> local/qwen3:8b  200  1.2s (first 0.3)  25->5 tok  10 cached"
    )


def test_an_error_is_red_with_its_sentence() -> None:
    line = LINE | {"status": 502, "error": "unreachable", "message": "nobody answers at local"}

    assert "\x1b[31munreachable: nobody answers at local\x1b[0m" in describe_request(line, NOW, colours=True)
    assert "\x1b" not in describe_request(line, NOW, colours=False)


@pytest.mark.parametrize("field", ["model", "path", "upstream", "message"])
def test_a_terminal_obeys_no_foreign_word(field: str) -> None:
    line = LINE | {"status": 404, "error": "not_found", "message": "no", field: "a\x1b[2Jb\nc\u202e" + "x" * 5000}

    said = describe_request(line, NOW, colours=False)

    assert "a?[2Jb?c?" in said
    assert said.isprintable()
    assert len(said) < 700


@pytest.mark.parametrize(("environ", "wanted"), [({}, True), ({"NO_COLOR": "1"}, False), ({"TERM": "dumb"}, False)])
def test_colours_are_for_those_who_want_them(environ: dict[str, str], wanted: bool) -> None:
    assert wants_colours(environ) is wanted


REQUEST_LINE = {
    "id": "7f", "method": "POST", "path": "/v1/messages", "model": "sonnet", "upstream": "up/m", "status": 502,
    "terminal": "error", "stream": False, "ttfb_ms": None, "ms": 1200, "error": "unreachable",
    "message": "it is \u202edown",
}  # fmt: skip
SUMMED_UP = "POST /v1/messages  sonnet -> up/m  502  1.2s  unreachable: it is ?down"


@pytest.mark.parametrize(
    ("line", "when", "level", "text"),
    [
        (json.dumps({"time": "2026-02-03T10:20:30.123Z", "level": "WARNING", **REQUEST_LINE}), "10:20:30", "warn",
         SUMMED_UP),
        (f"2026-02-03T10:20:30.123Z WARNING {json.dumps(REQUEST_LINE)}", "10:20:30", "warn", SUMMED_UP),
        ('{"time":"2026-02-03T10:20:30.123Z","level":"ERROR","message":"it broke"}', "10:20:30", "error", "it broke"),
        ("2026-02-03T12:20:30.123+02:00 CRITICAL it broke", "10:20:30", "error", "it broke"),
        ("\x1b[2m10:20:30\x1b[0m  POST /v1/messages  \x1b[32m200\x1b[0m", "10:20:30", "info", "POST /v1/messages  200"),
        ("    File x, line 3", "", "info", "    File x, line 3"),
        ('2026-02-03T10:20:30.123Z INFO {"status":"odd"}', "10:20:30", "info", '{"status":"odd"}'),
        ("{" * 5000, "", "info", "{" * 5000),
    ],
)  # fmt: skip
def test_a_line_of_any_format_is_read_again(line: str, when: str, level: str, text: str) -> None:
    read = read_line(line.encode() + b"\n")

    assert (read.clock(), read.level, read.text) == (when, level, text)
    assert bool(read.fields) == ("{" in line and len(line) < 5000)


def test_a_line_that_is_read_again_tells_no_secret() -> None:
    read = read_line(json.dumps({"level": "INFO", "message": "it sent sk-abcdefghijkl"}).encode())

    assert "abcdefghijkl" not in f"{read.raw} {read.text} {read.fields}"
