"""Runs responses in the background.

A job is a stream without a reader: its events are written to the ledger as they arrive, so that every worker can show
them, and the response is stored with its status. A job regularly renews its lease; if it stops doing so it has died
with its worker, and its response has failed.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections import deque
from collections.abc import Iterator

import msgspec

from app.conversation.capabilities import RenderContext
from app.conversation.events import Failed
from app.dialects.openai_responses import StreamRenderer
from app.dialects.openai_responses.state.background import (
    ask_stream,
    change_status,
    last_number,
    read_head,
    render_break,
    render_end,
    render_queued,
    skip_events,
)
from app.dialects.openai_responses.state.history import find_response, input_items
from app.dialects.openai_responses.vocabulary import NAME
from app.errors import DragomanError, InvalidRequest, LedgerUnavailable, TooMany
from app.fairness import give_way
from app.gateway.delivery import JSON_HEADERS, STREAM_HEADERS
from app.gateway.gateway import Gateway
from app.gateway.messages import ClientRequest, ClientResponse
from app.gateway.record import Record, Reserved
from app.gateway.recording.recorder import Recorder
from app.gateway.responses_api.response_store import (
    KeptResponse,
    ResponseContinuation,
    ResponseStore,
    as_lost,
    keeps_responses,
    peek_of,
)
from app.ledger import Collection
from app.sse import COMMENT_KEEPALIVE, DONE

# Seconds between two writes of a job's new events, and between two reads by a client that follows them.
TICK = 0.25
# Seconds between two renewals of a job's lease.
BEAT = 5.0
# Pieces of a response's events that are deleted at once.
AT_ONCE = 500
# Maximum concurrent jobs of one worker: no connections limit them.
MAX_JOBS = 100
# Maximum concurrent jobs of one tenant in a worker; not applied to clients without keys.
MAX_JOBS_PER_TENANT = 25


class Background:
    """Runs this worker's background responses, and shows those of all workers."""

    def __init__(
        self,
        gateway: Gateway,
        response_store: ResponseStore,
        events: Collection,
        interval: float,
        recorder: Recorder | None = None,
    ) -> None:
        """`interval` is the time between pings to a client that follows the events, in seconds."""
        self._recorder = Recorder() if recorder is None else recorder
        self._gateway = gateway
        self._response_store = response_store
        self._events = events
        self._interval = interval
        self._jobs: dict[tuple[str, str], _Job] = {}
        self._ticking = threading.Lock()

    def takes(self, client_request: ClientRequest) -> bool:
        """Whether the gateway must run a request in the background itself, because not all of its upstreams can."""
        if peek_of(client_request).background is not True:
            return False
        upstreams = self._gateway.resolve(client_request)
        return not all(keeps_responses(upstream) for upstream in upstreams)

    def begin(self, client_request: ClientRequest, record: Record) -> ClientResponse:
        """Starts a job. Returns the queued response, or a stream of its events. Raises DragomanError."""
        peek = peek_of(client_request)
        record.model, record.stream = peek.model, peek.stream is True
        if peek.store is False:
            raise InvalidRequest(
                "background: a background response is stored, so store must not be false", param="background"
            )
        if len(self._jobs) >= MAX_JOBS:
            raise TooMany("too many background responses are running; try again when some have finished")
        tenant = client_request.tenant
        if tenant and sum(owner == tenant for owner, _ in list(self._jobs)) >= MAX_JOBS_PER_TENANT:
            raise TooMany(
                f"{MAX_JOBS_PER_TENANT} of your background responses are running; try again when some have finished"
            )
        asked = client_request.with_body(ask_stream(client_request.body))
        # The job needs its room after the request has given it back.
        asked.hold = None if client_request.hold is None else client_request.hold.keep(len(asked.body))
        with contextlib.ExitStack() as undo:
            undo.callback(asked.release_hold)
            asked.continuation = state = ResponseContinuation(self._response_store, asked, background=True)
            upstream = self._gateway.resolve(client_request)[0]
            given = state.prepare(upstream)  # refuses an invalid continuation while the client is still connected
            context = RenderContext(model=peek.model, id=asked.id, created=int(time.time()), request=asked.request)
            job = _Job(asked, state, context, record)
            record.operation = ""  # the job has a record of its own as the API request
            items = [msgspec.Raw(item) for item in input_items(given.body)]
            alive = self._response_store.lend(asked.tenant, job.response_id)
            queued = KeptResponse(response=msgspec.Raw(job.queued), input=items, alive=alive)
            self._response_store.start(asked.tenant, job.response_id, queued)
            job.reservation, record.reservation = record.reservation, None
            self._start(job)
            undo.pop_all()
        if peek.stream:
            return ClientResponse(200, dict(STREAM_HEADERS), self.replay(asked.tenant, job.response_id))
        return ClientResponse(200, dict(JSON_HEADERS), job.queued)

    def replay(self, tenant: str, response_id: str, after: int = -1) -> Iterator[bytes]:
        """The events of a response after sequence number `after`, up to its end."""
        last = after
        try:
            for events in self._read(tenant, response_id):
                last = last_number(events, last)
                if fresh := skip_events(events, after):
                    yield fresh
                if events.endswith(DONE):
                    return
            kept = self._response_store.find(tenant, response_id)
            if kept is not None:
                yield render_end(bytes(kept.response), last + 1)
        except LedgerUnavailable as error:
            yield render_break(error.failure, last + 1)

    def _read(self, tenant: str, response_id: str) -> Iterator[bytes]:
        """The events of a response as they are written, with pings in between, until it is over."""
        position, heard = 0, time.monotonic()
        ended = False
        while True:
            events = self._events.get(tenant, f"{response_id}:{position}")
            if events is not None:
                position += 1
                give_way()  # thousands may follow, and a client may want none of them
                yield events
                heard = time.monotonic()
            elif ended:
                return
            else:
                # Once a response is over all its events are in the ledger, so one more read is enough.
                ended = not self._response_store.is_running(tenant, response_id) and self._is_over(tenant, response_id)
                if not ended:
                    time.sleep(TICK)
                if time.monotonic() - heard >= self._interval:
                    yield COMMENT_KEEPALIVE
                    heard = time.monotonic()

    def _is_over(self, tenant: str, response_id: str) -> bool:
        kept = self._response_store.find(tenant, response_id)
        return kept is None or not kept.alive

    def cancel(self, tenant: str, response_id: str) -> bytes:
        """Cancels a running response and returns it. Raises InvalidRequest if it is already over."""

        def cancel(kept: KeptResponse) -> KeptResponse:
            cancelled = change_status(bytes(kept.response), "cancelled")
            return msgspec.structs.replace(kept, response=msgspec.Raw(cancelled), alive=0.0)

        self._response_store.end(tenant, response_id, cancel)
        self._stop(tenant, response_id)
        kept = self._response_store.find(tenant, response_id)
        status = "deleted" if kept is None else read_head(bytes(kept.response)).status
        if kept is None or status != "cancelled":
            raise InvalidRequest(f"Cannot cancel a response that is {status}.", param="response_id")
        return bytes(kept.response)

    def forget(self, tenant: str, response_id: str) -> None:
        """Ends a response that is no longer stored, and deletes its events."""
        self._stop(tenant, response_id)
        position = 0
        while self._events.delete(
            tenant, *(f"{response_id}:{number}" for number in range(position, position + AT_ONCE))
        ):
            position += AT_ONCE

    @property
    def busy(self) -> bool:
        """Whether any job is running."""
        return bool(self._jobs)

    def finish(self, seconds: float) -> None:
        """Waits at most `seconds` for all jobs to end; any left then are marked as failed."""
        end = time.monotonic() + seconds
        while self._jobs and time.monotonic() < end:
            time.sleep(TICK)
        for job in list(self._jobs.values()):
            job.stopped = True
            with contextlib.suppress(LedgerUnavailable):
                self._response_store.end(*job.place, as_lost)

    def _start(self, job: _Job) -> None:
        """Starts threads (greenlets under gevent), because a job outlives the request that began it."""
        with self._ticking:
            idle = not self._jobs
            self._jobs[job.place] = job
        threading.Thread(target=self._run, args=(job,), daemon=True).start()
        if idle:
            threading.Thread(target=self._tick, daemon=True).start()

    def _stop(self, tenant: str, response_id: str) -> None:
        job = self._jobs.get((tenant, response_id))
        if job is not None:
            job.stopped = True

    def _run(self, job: _Job) -> None:
        record = self._recorder.begin(job.client_request.id, NAME)
        record.act_for(job.record)
        record.reservation = job.reservation
        try:
            answer = self._gateway.answer(job.client_request, record)
            record.status = answer.status
            job.listen(answer)
        except DragomanError as error:
            record.fail(error)
            job.fail(error)
        except Exception as fault:
            job.fail(record.fault(fault))
        finally:
            job.over = True
            job.client_request.release_hold()
            record.write()

    def _tick(self) -> None:
        """Writes the jobs' new events to the ledger, as long as there are jobs."""
        while True:
            time.sleep(TICK)
            for place, job in list(self._jobs.items()):
                over = job.over  # read before writing: later events are written next time
                try:
                    self._write(job, over)
                except LedgerUnavailable:
                    continue  # the ledger has logged it; the events wait for the next round
                if over:
                    del self._jobs[place]
            with self._ticking:
                if not self._jobs:
                    return

    def _write(self, job: _Job, over: bool) -> None:
        if job.heard:  # others may follow at any time
            heard = [job.heard.popleft() for _ in range(len(job.heard))]
            job.unwritten = b"".join((job.unwritten, *heard))
        if job.unwritten and not job.stopped:
            self._events.put(job.client_request.tenant, f"{job.response_id}:{job.written}", job.unwritten)
            job.unwritten = b""
            job.written += 1
        if over:
            self._response_store.end(*job.place, job.report)
        elif job.written and not job.begun:
            job.stopped |= not self._response_store.change_running(*job.place, job.report)
            job.begun = True
        elif time.monotonic() >= job.beat:
            job.stopped |= not self._response_store.renew(*job.place)
            job.beat = time.monotonic() + BEAT


class _Job:
    """One running response. `heard` are its events as they arrived, `unwritten` those about to be written; `written`
    counts the writes."""

    def __init__(
        self, client_request: ClientRequest, state: ResponseContinuation, context: RenderContext, record: Record
    ) -> None:
        self.record = record
        self.reservation: Reserved | None = None
        self.client_request = client_request
        self.queued = render_queued(context)
        self.response_id = read_head(self.queued).id
        self.place = (client_request.tenant, self.response_id)
        self.heard: deque[bytes] = deque()
        self.unwritten = b""
        self.written = 0
        self.begun = False
        self.beat = 0.0
        self.over = False
        self.stopped = False
        self._state = state
        self._context = context
        self._ended: KeptResponse | None = None

    def listen(self, answer: ClientResponse) -> None:
        """Takes the events as they arrive, until the end or until the job is stopped."""
        parts = iter((answer.body,)) if isinstance(answer.body, bytes) else answer.body
        for part in parts:
            if self.stopped:
                break
            if self._ended is None and (response := find_response(part)) is not None:
                self._ended = self._state.conclude(response)
            self.heard.append(part)
        close = getattr(parts, "close", None)
        if close is not None:
            close()

    def fail(self, error: DragomanError) -> None:
        """Ends the response with an error, before its upstream has answered."""
        renderer = StreamRenderer(self._context)
        self.heard.append(renderer.feed([Failed(error.failure)]))
        self._ended = self._state.conclude(renderer.response)

    def report(self, kept: KeptResponse) -> KeptResponse:
        """The stored form of the response once it has begun, or is over."""
        if self._ended is not None and self.over:
            return self._ended
        running = change_status(bytes(kept.response), "in_progress")
        return msgspec.structs.replace(kept, response=msgspec.Raw(running))
