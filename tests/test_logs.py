"""The log: levels, forms, and no secret in any of them."""

from __future__ import annotations

import io
import json
import logging

import pytest

from app.logs import RequestLog, start_logs
from app.settings import ServerSettings


def test_info_goes_to_standard_output_and_trouble_to_standard_error(capsys: pytest.CaptureFixture[str]) -> None:
    start_logs(ServerSettings(log_level="info"))

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

    log.write(b'{"id":"1","model":"sk-abcdefghijkl"}')
    log.write(b'{"id":"2"}')
    before = file.getvalue()
    log.flush()

    lines = [json.loads(line) for line in file.getvalue().splitlines()]
    assert before == b""
    assert [line["message"]["id"] for line in lines] == ["1", "2"]
    assert lines[0]["message"]["model"] == "[masked]"


def test_many_waiting_lines_are_written_without_being_asked_for() -> None:
    file = io.BytesIO()
    log = RequestLog()
    log.open(file, as_json=False)

    for _ in range(300):
        log.write(b"{}")

    assert file.getvalue().count(b"\n") >= 256
