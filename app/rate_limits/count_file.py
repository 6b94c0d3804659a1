"""Counts in a memory-mapped file that the workers of a host share. The file survives restarts.

The file is a sequence of slots of integers, one for each limit of each owner. A slot holds the buckets of a moving
window. For parallel requests and budgets, it holds one cell for each worker's seat instead, so that the cells of a dead
worker can be cleared. A lock on the file, held for microseconds, makes counting exact.
"""

from __future__ import annotations

import fcntl
import mmap
import os
from collections.abc import Sequence
from pathlib import Path

from app.rate_limits.counts import PARTS, RING, Demand, Full, Limit, Taken
from app.rate_limits.seats import SEATS, Seats, take_seat

# The number is the layout's. Another layout needs another file, since older workers may still use this one.
FILE_NAME = "limits.1.bin"
SEATS_NAME = "limits.1.seats"
_MAGIC = int.from_bytes(b"dmlimit1", "little", signed=True)

# Integers of 8 bytes. The head has the magic number and the number of slots in use. A slot begins with its place (2),
# whether it has cells for seats, its newest bucket or day, and when it was last used.
_HEAD = 2
_PLACE = 2  # integers
_SEATED, _NUMBER, _TOUCHED, _COUNTS = 2, 3, 4, 5
_SLOT = _COUNTS + RING
# A budget's first count is what was spent. Seats follow it.
_FIRST_SEAT = _COUNTS + 1
_FIRST_SLOTS = 64
# Seconds after which an unused slot may be reused for another limit. Longer than any period.
_FORGOTTEN = 40 * 86_400

assert SEATS == PARTS


class CountFile:
    """The counts of one host. Methods raise OSError if the file cannot be used."""

    def __init__(self, folder: Path | None) -> None:
        """If `folder` is None, the counts are kept in memory, for this process only."""
        self._folder = folder
        self._file = -1
        self._owner = 0
        self._map: mmap.mmap | None = None
        self._cells = memoryview(b"").cast("q")
        self._slots: dict[bytes, int] = {}
        self._known = 0
        self._seats: Seats | None = None

    def take(self, demands: Sequence[Demand], now: float) -> Taken | Full:
        with self:
            numbered, places, counted = [], [], []
            for demand in demands:
                slot, limit = self._find_slot(demand, now), demand.limit
                number = int(now) // limit.bucket if limit.bucket else limit.number(now)
                used = self._count(limit, slot, number)
                if used >= limit.maximum:
                    used = self._recount(limit, slot, number)
                    if used >= limit.maximum:
                        return self._full(limit, slot, used, now)
                numbered.append((demand, number))
                cell = slot + _COUNTS + number % RING if limit.bucket else self._seat_cell(slot)
                places.append((cell, demand.amount))
                counted.append(used + demand.amount)
            for cell, amount in places:
                self._cells[cell] += amount
            return Taken(self, tuple(numbered), tuple(counted))

    def settle(self, taken: Taken, actual: Sequence[int], now: float) -> None:
        with self:
            for place, (demand, number) in enumerate(taken.demands):
                limit, used = demand.limit, actual[place]
                if limit.bucket and used == demand.amount:
                    continue
                slot = self._find_slot(demand, now)
                self._advance(limit, slot, limit.number(now))
                newest = self._cells[slot + _NUMBER]
                if not limit.bucket:
                    cell = self._seat_cell(slot)
                    self._cells[cell] = max(0, self._cells[cell] - demand.amount)
                elif newest - number <= PARTS:
                    cell = slot + _COUNTS + number % RING
                    self._cells[cell] = max(0, self._cells[cell] - demand.amount)
                if limit.kind != "parallel":
                    self._cells[slot + _COUNTS + (newest % RING if limit.bucket else 0)] += used

    def look(self, demands: Sequence[Demand], now: float) -> list[int]:
        with self:
            return [self._look(demand, now) for demand in demands]

    def _look(self, demand: Demand, now: float) -> int:
        limit, place = demand.limit, demand.place
        slot = self._slots.get(place, 0)
        if not slot or self._cells[slot : slot + _PLACE].tobytes() != place:
            slot = self._search_slot(place)
        if not slot:
            return 0  # not used yet, and looking must not take a slot
        return self._recount(limit, slot, limit.number(now))

    def close(self) -> None:
        if self._map is not None:
            self._cells.release()
            self._map.close()
            self._map = None
        if self._file >= 0 and self._owner == os.getpid():
            os.close(self._file)
        self._file = -1

    def _count(self, limit: Limit, slot: int, number: int) -> int:
        """The current count. `number` is that of the current bucket, day or month."""
        if number != self._cells[slot + _NUMBER]:
            self._advance(limit, slot, number)
        return sum(self._cells[slot + _COUNTS : slot + _SLOT])

    def _recount(self, limit: Limit, slot: int, number: int) -> int:
        """The current count, without that of workers that are gone."""
        if not limit.bucket:
            self._clear_deserted(slot)
        return self._count(limit, slot, number)

    def _advance(self, limit: Limit, slot: int, number: int) -> None:
        """Clears the buckets whose time is over. If the clock was set back by more than a window, what was counted
        until then counts as of now: it must be forgotten in time."""
        newest = self._cells[slot + _NUMBER]
        if number <= newest:
            if newest - number > (PARTS if limit.bucket else 1):
                self._set_back(limit, slot, number)
            return
        self._cells[slot + _NUMBER] = number
        if not limit.bucket:
            self._cells[slot + _COUNTS] = 0
            return
        for passed in range(max(newest + 1, number - PARTS), number + 1):
            self._cells[slot + _COUNTS + passed % RING] = 0

    def _set_back(self, limit: Limit, slot: int, number: int) -> None:
        """Makes a time before all that was counted the current one."""
        self._cells[slot + _NUMBER] = number
        if limit.bucket:
            used = sum(self._cells[slot + _COUNTS : slot + _SLOT])
            for cell in range(slot + _COUNTS, slot + _SLOT):
                self._cells[cell] = 0
            self._cells[slot + _COUNTS + number % RING] = used

    def _full(self, limit: Limit, slot: int, used: int, now: float) -> Full:
        """What to say of a reached limit."""
        newest = self._cells[slot + _NUMBER]
        if not limit.bucket:
            return limit.full(used, self._cells[slot + _COUNTS], now)
        ring = range(newest - PARTS, newest + 1)
        buckets = [(number, self._cells[slot + _COUNTS + number % RING]) for number in ring]
        return Full(limit, used, limit.free_again(used, buckets, now))

    def _seat_cell(self, slot: int) -> int:
        return slot + _FIRST_SEAT + (self._seats.mine if self._seats is not None else 0)

    def _clear_deserted(self, slot: int) -> None:
        """Clears the counts of seats in this slot whose workers are gone."""
        seats = self._seats
        if seats is None:
            return
        for seat in range(SEATS):
            if self._cells[slot + _FIRST_SEAT + seat] and seats.is_deserted(seat):
                self._clear_seat(seat)

    def _clear_seat(self, seat: int) -> None:
        for number in range(self._cells[1]):
            slot = _HEAD + number * _SLOT
            if self._cells[slot + _SEATED]:
                self._cells[slot + _FIRST_SEAT + seat] = 0

    def _find_slot(self, demand: Demand, now: float) -> int:
        """The start of a limit's slot, which is added if there is none."""
        place = demand.place
        slot = self._slots.get(place, 0)
        if not slot or self._cells[slot : slot + _PLACE].tobytes() != place:
            slot = self._slots[place] = self._search_slot(place) or self._add_slot(place, now)
            self._cells[slot + _SEATED] = 0 if demand.limit.bucket else 1
        self._cells[slot + _TOUCHED] = int(now)
        return slot

    def _search_slot(self, place: bytes) -> int:
        """Reads the slots that others have added, and returns the start of the wanted one, or 0 if there is none."""
        in_use = self._cells[1]
        if _HEAD + in_use * _SLOT > len(self._cells):
            self._remap()
        if self._slots.get(place):  # its slot was reused for another limit, and so may others have been
            self._known = 0
            self._slots.clear()
        for number in range(self._known, in_use):
            slot = _HEAD + number * _SLOT
            self._slots[self._cells[slot : slot + _PLACE].tobytes()] = slot
        self._known = in_use
        return self._slots.get(place, 0)

    def _add_slot(self, place: bytes, now: float) -> int:
        in_use = self._cells[1]
        slot = _HEAD + in_use * _SLOT
        if slot + _SLOT > len(self._cells):
            oldest = now - _FORGOTTEN
            starts = range(_HEAD, _HEAD + in_use * _SLOT, _SLOT)
            forgotten = next((start for start in starts if self._cells[start + _TOUCHED] < oldest), 0)
            if forgotten:
                slot = forgotten
            else:
                self._grow()
        if slot == _HEAD + in_use * _SLOT:
            self._cells[1] = in_use + 1
            self._known = in_use + 1
        for cell in range(slot, slot + _SLOT):
            self._cells[cell] = 0
        self._cells[slot : slot + _PLACE] = memoryview(place).cast("q")
        return slot

    # As a lock: counting happens between the two. Cheaper than a generator, and each request with limits counts twice.
    def __enter__(self) -> None:
        if self._map is None or self._owner != os.getpid():
            self._open()
        if self._file >= 0:
            fcntl.flock(self._file, fcntl.LOCK_EX)

    def __exit__(self, *_: object) -> None:
        if self._file >= 0:
            fcntl.flock(self._file, fcntl.LOCK_UN)

    def _open(self) -> None:
        self._slots.clear()
        self._known, self._owner, self._file = 0, os.getpid(), -1
        if self._folder is None:
            self._take_map(mmap.mmap(-1, _size(_FIRST_SLOTS)))
            self._cells[0] = _MAGIC
            return
        self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        file = os.open(self._folder / FILE_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.fstat(file).st_size == 0:
                _allocate(file, _size(_FIRST_SLOTS))
            size = os.fstat(file).st_size
            if (size // 8 - _HEAD) % _SLOT or size % 8:
                raise OSError(f"{self._folder / FILE_NAME} is damaged; remove it")
            self._take_map(mmap.mmap(file, size))
            if self._cells[0] == 0:
                self._cells[0] = _MAGIC
            if self._cells[0] != _MAGIC or not 0 <= self._cells[1] <= (len(self._cells) - _HEAD) // _SLOT:
                self._cells.release()
                self._map = None
                raise OSError(f"{self._folder / FILE_NAME} is damaged; remove it")
            self._seats, is_new = take_seat(self._folder / SEATS_NAME)
            if is_new:
                self._clear_seat(self._seats.mine)
        except BaseException:
            os.close(file)
            self._map = None
            raise
        self._file = file
        fcntl.flock(file, fcntl.LOCK_UN)

    def _grow(self) -> None:
        slots = 2 * ((len(self._cells) - _HEAD) // _SLOT)
        if self._file >= 0:
            _allocate(self._file, _size(slots))
            self._remap()
            return
        before = bytes(self._cells)
        self._take_map(mmap.mmap(-1, _size(slots)))
        self._cells.cast("B")[: len(before)] = before

    def _remap(self) -> None:
        self._take_map(mmap.mmap(self._file, os.fstat(self._file).st_size))

    def _take_map(self, fresh: mmap.mmap) -> None:
        if self._map is not None:
            self._cells.release()
            self._map.close()
        self._map = fresh
        self._cells = memoryview(fresh).cast("q")


def _size(slots: int) -> int:
    return 8 * (_HEAD + slots * _SLOT)


def _allocate(file: int, size: int) -> None:
    """Allocates disk space now. Writing to a hole on a full disk would kill the process."""
    if hasattr(os, "posix_fallocate"):
        os.posix_fallocate(file, 0, size)
    else:
        os.ftruncate(file, size)
