"""One request to the Claude program: waits for its turn, runs it and reads its output."""

from __future__ import annotations

import threading
from collections.abc import Callable

import msgspec

from app.errors import ProgramUnavailable, UpstreamBusy, UpstreamCut, UpstreamTimeout
from app.providers.kinds.claude_cli.output import Output, Trouble
from app.sse import encode_event
from app.transport import Exchange, Limits
from app.transport.process import Process
from app.transport.provider_queue import ProviderQueue, Ticket
from app.transport.silence import Silence

# Seconds that a request waits for a running program to end.
QUEUE_TIMEOUT = 60.0
# Seconds that the program has to clean up after its answer.
PARTING = 1.0


class ProgramExchange(Exchange):
    """An exchange with a program that is started for it. `queue` limits how many run at once, and `tenant` is whose
    turn it waits for; `say` rewords the program's complaints for readers, without secrets; `output` reads what it
    writes."""

    def __init__(
        self,
        start: Callable[[], Process],
        queue: ProviderQueue,
        tenant: str,
        limits: Limits,
        say: Callable[[str], str],
        output: Output,
    ) -> None:
        self.status = 0
        self.headers = {}
        self._start: Callable[[], Process] | None = start
        self._queue = queue
        self._tenant = tenant
        self._ticket: Ticket | None = None
        self._say = say
        self._output = output
        self._process: Process | None = None
        self._unread = b""
        self._queued = 0.0
        self._silence = Silence(limits)

    def wait_head(self, wait: float | None = None) -> bool:
        while self._process is None:
            if not self._begin(wait) and wait is not None:
                return False
        while not self.status:
            part = self._receive(wait)
            if part is None:
                return False
            self._unread = part
        return True

    def read_part(self, wait: float | None = None) -> bytes | None:
        if self._unread:
            part = self._unread
            self._unread = b""
            return part
        while not self._output.ended:
            received = self._receive(wait)
            if received is None or received:
                return received
        return b""

    def close(self) -> None:
        ticket, self._ticket = self._ticket, None
        if ticket is None:
            return
        if self._process is None:
            self._queue.leave(ticket)
            return
        # Nothing waits for the program's end, but the next program starts only after it.
        threading.Thread(target=self._part, args=(self._process, ticket, self._output.ended), daemon=True).start()

    def __del__(self) -> None:
        # A client may have left before anything was read.
        if self._ticket is not None:
            self._queue.leave(self._ticket)

    def _part(self, process: Process, ticket: Ticket, in_peace: bool) -> None:
        try:
            process.end(PARTING if in_peace else 0.0)
        finally:
            self._queue.leave(ticket)

    def _begin(self, wait: float | None) -> bool:
        """Starts the program as soon as it may run; False if `wait` passed before."""
        seconds = QUEUE_TIMEOUT - self._queued
        if wait is not None:
            seconds = min(seconds, wait)
        if self._ticket is None:
            self._ticket = self._queue.enter(self._tenant)
        if not self._ticket.wait(seconds):
            self._queued += seconds
            if self._queued >= QUEUE_TIMEOUT:
                self.close()
                raise UpstreamBusy(
                    "the limit of running Claude programs (max_processes) has been reached "
                    f"for {QUEUE_TIMEOUT:g} s; try again later"
                )
            return False
        assert self._start is not None, "waited for after its end"
        # It holds the conversation, which need not stay in memory while the answer runs.
        start, self._start = self._start, None
        try:
            self._process = start()
        except OSError as error:
            self.close()
            raise ProgramUnavailable(self._say(f"it cannot be started: {error.strerror}")) from error
        except BaseException:
            self.close()
            raise
        return True

    def _receive(self, wait: float | None) -> bytes | None:
        """The events that one read completes, possibly none; None if `wait` passed without output."""
        assert self._process is not None, "read before the program runs"
        try:
            data = self._silence.bear(self._process.read, self.status > 0, wait)
        except UpstreamTimeout:
            self.close()
            raise
        if data is None:
            return None if wait is not None else b""
        return self._take(data)

    def _take(self, data: bytes) -> bytes:
        # The last line may lack its line end.
        part = self._output.feed(data or b"\n")
        if part and not self.status:
            self.status = 200
            self.headers = {"content-type": "text/event-stream"}
        if self._output.trouble is not None:
            return part + self._report_trouble(self._output.trouble)
        if not data and not self._output.ended:
            raise self._handle_end()
        return part

    def _report_trouble(self, trouble: Trouble) -> bytes:
        """The trouble as the API would have reported it: an error event inside a stream, else an error body."""
        if not self.status and (trouble.status is None or trouble.status < 400):
            self.close()
            raise ProgramUnavailable(self._say(trouble.message))
        error = {"type": trouble.type or "api_error", "message": self._say(trouble.message)}
        body = msgspec.json.encode({"type": "error", "error": error})
        if self.status:
            return encode_event(body, "error")
        self.status = trouble.status or 500
        self.headers = {"content-type": "application/json"}
        return body

    def _handle_end(self) -> UpstreamCut | ProgramUnavailable:
        """The error for a program that ended before its answer did."""
        assert self._process is not None
        code = self._process.wait(PARTING)
        words = self._process.last_words() or f"it ended with exit code {code} and no output"
        self.close()
        if self.status:
            return UpstreamCut(self._say(words), began=True)
        return ProgramUnavailable(self._say(words), 503 if "logged in" in words or "/login" in words else 502)
