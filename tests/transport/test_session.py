"""Specifies what requests finds here, the same connections under its own contract, and that mocks hold."""

from __future__ import annotations

import pytest
import requests
import responses

from app.errors import UpstreamCut, UpstreamTimeout, UpstreamUnreachable
from app.transport import Limits, Transport
from tests.support.fake_upstream import CLOSE, STALL, FakeUpstream, Reply, json_reply, raw, sse
from tests.transport.calls import fetch, post, read_parts

URL = "https://upstream.test/v1/chat"


@responses.activate
def test_a_mocked_reply_comes_as_any_other(transport: Transport) -> None:
    responses.post(URL, json={"answer": 42}, status=429, headers={"Retry-After": "3"})

    exchange = transport.send(post(URL, b'{"q":1}', headers={"authorization": "Bearer k"}))
    has_head = exchange.wait_head()
    body = exchange.read_body()
    exchange.close()

    assert (has_head, exchange.status, exchange.headers["retry-after"], body) == (True, 429, "3", b'{"answer": 42}')
    request = responses.calls[0].request
    assert (request.body, request.headers["authorization"]) == (b'{"q":1}', "Bearer k")


@responses.activate
def test_a_mocked_stream_comes_whole(transport: Transport) -> None:
    responses.post(URL, body=b"data: 1\n\ndata: 2\n\n", content_type="text/event-stream")
    exchange = transport.send(post(URL))

    assert b"".join(part or b"" for part in read_parts(exchange)) == b"data: 1\n\ndata: 2\n\n"


@responses.activate
def test_a_call_that_no_mock_expects_does_not_reach_the_network(transport: Transport) -> None:
    with pytest.raises(UpstreamUnreachable):
        transport.send(post(URL))


@responses.activate
@pytest.mark.parametrize(
    ("failure", "expected"),
    [
        (requests.ConnectionError("refused"), UpstreamUnreachable),
        (requests.ConnectTimeout(), UpstreamTimeout),
        (requests.ReadTimeout(), UpstreamTimeout),
    ],
)
def test_a_mocked_failure_is_one_of_ours(transport: Transport, failure: Exception, expected: type[Exception]) -> None:
    responses.post(URL, body=failure)

    with pytest.raises(expected):
        transport.send(post(URL))


def test_the_network_is_back_after_the_mock(transport: Transport) -> None:
    with responses.RequestsMock(assert_all_requests_are_fired=False), pytest.raises(UpstreamUnreachable):
        transport.send(post(URL))

    with FakeUpstream(json_reply(1)) as upstream:
        assert fetch(transport, upstream.url) == b"1"


@responses.activate
def test_the_session_is_mocked_too(transport: Transport) -> None:
    responses.get(URL, json=[1])

    assert transport.session.get(URL).json() == [1]


def test_the_session_uses_the_kept_connections(transport: Transport) -> None:
    with FakeUpstream(json_reply({"n": 1})) as upstream:
        fetch(transport, upstream.url)

        replies = [transport.session.post(upstream.url, json={"q": 1}) for _ in range(2)]

        assert [reply.json() for reply in replies] == [{"n": 1}] * 2
        assert upstream.seen[-1].json() == {"q": 1}
        assert upstream.accepted == 1


def test_the_session_streams(transport: Transport) -> None:
    with FakeUpstream(sse(b"data: 1\n\n", b"data: 2\n\n", gzip=True)) as upstream:
        reply = transport.session.get(upstream.url, stream=True)

        assert list(reply.iter_lines()) == [b"data: 1", b"", b"data: 2", b""]


def test_the_session_leaves_a_form_and_a_file_to_the_upstream_as_requests_does(transport: Transport) -> None:
    with FakeUpstream() as upstream:
        transport.session.post(upstream.url, data={"grant": "a b"})
        transport.session.post(upstream.url, data=iter([b"a", b"b"]))

        assert upstream.seen[0].body == b"grant=a+b"
        assert upstream.seen[1].headers["transfer-encoding"] == "chunked"


def test_the_sessions_failures_are_those_of_requests(transport: Transport) -> None:
    with FakeUpstream(sse(STALL), raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", CLOSE)) as upstream:
        with pytest.raises(requests.ConnectionError):
            transport.session.get(upstream.url, timeout=0.2)
        with pytest.raises(requests.exceptions.ChunkedEncodingError):
            transport.session.get(upstream.url)
        upstream.script(Reply(delay=9))
        with pytest.raises(requests.ReadTimeout):
            transport.session.get(upstream.url, timeout=(1, 0.2))
        url = upstream.url

    with pytest.raises(requests.ConnectionError):
        transport.session.get(url)


def test_no_cookie_of_one_call_goes_out_with_the_next(transport: Transport) -> None:
    with FakeUpstream(json_reply({}, headers={"set-cookie": "user=one; path=/"})) as upstream:
        transport.session.get(upstream.url)
        transport.session.get(upstream.url)
        fetch(transport, upstream.url)

        assert all("cookie" not in seen.headers for seen in upstream.seen)


def test_no_redirect_is_followed(transport: Transport) -> None:
    with FakeUpstream(json_reply({}, 307, {"location": "/elsewhere"})) as upstream:
        reply = transport.session.post(upstream.url, headers={"authorization": "Bearer k"})

        assert (reply.status_code, len(upstream.seen)) == (307, 1)


def test_the_environment_changes_nothing(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with FakeUpstream(json_reply(1)) as upstream:
        bodies = [fetch(transport, upstream.url), transport.session.get(upstream.url).content]

        assert bodies == [b"1", b"1"]


def test_a_total_limit_given_to_a_mock_is_no_obstacle(transport: Transport) -> None:
    with responses.RequestsMock() as mock:
        mock.post(URL, json=1)

        exchange = transport.send(post(URL, limits=Limits(total=1.0)))

        assert exchange.read_body() == b"1"


def test_a_cut_is_the_same_by_way_of_requests(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.transport.connections.dialer.Dialer.can_reach", lambda self, origin: False)
    with FakeUpstream(raw(CLOSE), raw(b"HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nhello", CLOSE)) as upstream:
        with pytest.raises(UpstreamCut) as before:
            transport.send(post(upstream.url))
        exchange = transport.send(post(upstream.url))
        with pytest.raises(UpstreamCut) as after:
            exchange.read_body()
        exchange.close()

        assert (before.value.began, after.value.began) == (False, True)


def test_a_stream_by_way_of_requests_comes_part_by_part(transport: Transport, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("app.transport.connections.dialer.Dialer.can_reach", lambda self, origin: False)
    with FakeUpstream(sse(b"data: 1\n\n", 0.1, b"data: 2\n\n"), sse(b"data: 3\n\n", gzip=True)) as upstream:
        parts = [read_parts(transport.send(post(upstream.url))) for _ in range(2)]

        assert parts == [[b"data: 1\n\n", b"data: 2\n\n"], [b"data: 3\n\n"]]
