"""Counts in a Redis that hosts share, with one atomic script each for taking and settling."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from app.rate_limits.counts import PARTS, Demand, Full, Limit, Period, Taken
from app.rate_limits.redis_link import TIMEOUT, open_redis

if TYPE_CHECKING:
    from redis import Redis

PREFIX = "dragoman:limits:"
# Seconds without a sign of life after which a worker's running requests no longer count.
LEASE = 15

# All scripts get for each limit: its window (a bucket's seconds, or one of _WINDOWS), and more. Buckets, days and
# months follow the clock of Redis, since the hosts' clocks differ and may be wrong. Taking replies with the index of
# the reached limit, or 0; its count; the time, in seconds and in milliseconds; and then either the numbers of the
# demands' buckets and the new counts, or the buckets of the reached limit.
#
# A Redis that hung finds what clients have long given up. What would change a count names the time, in milliseconds,
# from which on it must not: the client has counted elsewhere, or will settle later. The reply is then -1.
#
# A count that is no number, or of a time that is yet to come since the clock was set back, must neither block a limit
# for ever nor lift it: the first is dropped, the second moved to now.
_WINDOWS: dict[Period, int] = {"": 0, "day": -1, "month": -2}
_USED = (
    f"local LEASE, PARTS = {LEASE}, {PARTS}"
    + """
local prefix, worker, deadline = ARGV[1], ARGV[2], tonumber(ARGV[3])
local clock = redis.call('TIME')
local now = tonumber(clock[1])
local moment = now * 1000 + math.floor(tonumber(clock[2]) / 1000)
if deadline > 0 and moment > deadline then return {-1, 0, now, moment} end
redis.call('SET', prefix .. 'worker:' .. worker, 1, 'EX', LEASE)
local function month_of(day)
  local shifted = day + 719468
  local era = math.floor(shifted / 146097)
  local rest = shifted % 146097
  local leaps = math.floor(rest / 1460) - math.floor(rest / 36524) + math.floor(rest / 146096)
  local year = math.floor((rest - leaps) / 365)
  local yearday = rest - (365 * year + math.floor(year / 4) - math.floor(year / 100))
  return (year + era * 400) * 12 + math.floor((5 * yearday + 2) / 153) + 2
end
local function number_of(window)
  if window > 0 then return math.floor(now / window) end
  local day = math.floor(now / 86400)
  return window == -1 and day or window == -2 and month_of(day) or 0
end
local function is_count(text)
  return #text <= 18 and string.find(text, '^%d+$') ~= nil
end
local function used_of(key, window, number)
  local fields = redis.pcall('HGETALL', key)
  if fields.err then
    redis.call('DEL', key)
    fields = {}
  end
  local span = window > 0 and PARTS or 0
  local used, moved, found = 0, 0, {}
  for i = 1, #fields, 2 do
    local field, count = fields[i], is_count(fields[i + 1]) and tonumber(fields[i + 1])
    local at = is_count(field) and tonumber(field)
    local is_worker = string.sub(field, 1, 1) == 'w'
    if is_worker and count and redis.call('EXISTS', prefix .. 'worker:' .. string.sub(field, 2)) == 1 then
      used = used + count
    elseif is_worker or not (count and at) or at < number - span - 1 then
      redis.call('HDEL', key, field)
    elseif at > number + span + 1 then
      redis.call('HDEL', key, field)
      moved = moved + count
    elseif at >= number - span then
      used = used + count
      found[#found + 1] = at
      found[#found + 1] = count
    end
  end
  if moved > 0 then
    redis.call('HINCRBY', key, string.format('%d', number), moved)
    used = used + moved
    found[#found + 1] = number
    found[#found + 1] = moved
  end
  return used, found
end
"""
)
_TAKE = (
    _USED
    + """
local numbers, counted = {0, 0, now, moment}, {}
for i, key in ipairs(KEYS) do
  local at = 4 + (i - 1) * 4
  local window, most = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local number = number_of(window)
  local used, found = used_of(key, window, number)
  if used >= most then
    local reply = {i, used, now, moment}
    for _, each in ipairs(found) do reply[#reply + 1] = each end
    return reply
  end
  numbers[4 + i] = number
  counted[i] = used
end
for i, key in ipairs(KEYS) do
  local at = 4 + (i - 1) * 4
  local window, amount, lasts = tonumber(ARGV[at]), tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3])
  local field = window > 0 and string.format('%d', numbers[4 + i]) or 'w' .. worker
  redis.call('HINCRBY', key, field, amount)
  redis.call('EXPIRE', key, lasts)
  numbers[4 + #KEYS + i] = counted[i] + amount
end
return numbers
"""
)
# Argument for each limit: its window.
_LOOK = (
    _USED
    + """
local reply = {}
for i, key in ipairs(KEYS) do
  local window = tonumber(ARGV[3 + i])
  reply[i] = used_of(key, window, number_of(window))
end
return reply
"""
)
# Arguments for each limit: its window, number of the demand's bucket, its amount, what was used, seconds to keep the
# key.
_SETTLE = (
    _USED
    + """
for i, key in ipairs(KEYS) do
  local at = 4 + (i - 1) * 5
  local window, taken = tonumber(ARGV[at]), tonumber(ARGV[at + 1])
  local amount, used, lasts = tonumber(ARGV[at + 2]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local number = number_of(window)
  used_of(key, window, number)
  local field = window > 0 and string.format('%d', taken) or 'w' .. worker
  local counted = tonumber(redis.call('HGET', key, field) or 0)
  if counted > 0 then redis.call('HINCRBY', key, field, -math.min(amount, counted)) end
  if used > 0 then redis.call('HINCRBY', key, string.format('%d', number), used) end
  redis.call('EXPIRE', key, lasts)
end
return {0, 0, now, moment}
"""
)


class CountRedis:
    """The counts of all hosts that share a Redis. Methods raise OSError if it does not answer."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._redis: Redis | None = None
        self._take: Any = None
        self._settle: Any = None
        self._look: Any = None
        self._worker = secrets.token_hex(8)
        # Milliseconds from this machine's monotonic clock to the clock of Redis, once an answer has told it.
        self._ahead: int | None = None

    def take(self, demands: Sequence[Demand], now: float) -> Taken | Full:
        keys = [_key(demand) for demand in demands]
        rows = [(_window(d.limit), d.limit.maximum, d.amount, _lasts(d.limit)) for d in demands]
        reached, used, clock, *rest = self._change("_take", keys, rows)
        if not 0 <= reached <= len(demands) or (not reached and len(rest) != 2 * len(demands)):
            raise OSError(_NONSENSE)
        if not reached:
            numbers, counted = rest[: len(demands)], rest[len(demands) :]
            return Taken(self, tuple(zip(demands, numbers, strict=True)), tuple(counted))
        limit = demands[reached - 1].limit
        if limit.bucket:
            buckets = sorted(zip(rest[::2], rest[1::2], strict=False))
            return Full(limit, used, limit.free_again(used, buckets, clock))
        return limit.full(used, sum(rest[1::2]), clock)

    def settle(self, taken: Taken, actual: Sequence[int], now: float) -> None:
        changed = [
            (demand, number, used)
            for (demand, number), used in zip(taken.demands, actual, strict=True)
            if not demand.limit.bucket or used != demand.amount
        ]
        rows = [
            (_window(d.limit), number, d.amount, 0 if d.limit.kind == "parallel" else used, _lasts(d.limit))
            for d, number, used in changed
        ]
        if changed:
            self._change("_settle", [_key(demand) for demand, _, _ in changed], rows)

    def look(self, demands: Sequence[Demand], now: float) -> list[int]:
        rows = [(_window(demand.limit),) for demand in demands]
        keys = [_key(demand) for demand in demands]
        return self._call("_look", keys, rows, at_least=len(rows))[: len(rows)] if rows else []

    def beat(self) -> None:
        """Sends a sign of life, without which this worker's running requests would no longer count. Raises OSError if
        Redis does not answer."""
        from redis import RedisError

        try:
            self._connect().set(f"{PREFIX}worker:{self._worker}", 1, ex=LEASE)
        except RedisError as error:
            raise OSError(f"Redis does not answer ({type(error).__name__})") from error

    def close(self) -> None:
        if self._redis is not None:
            self._redis.close()
            self._redis = None

    def _change(self, script: str, keys: Sequence[str], rows: Sequence[Sequence[int]]) -> list[int]:
        """The reply of a script that counts, without the milliseconds. It counts nothing once it is given up here."""
        deadline = 0 if self._ahead is None else round((time.monotonic() + TIMEOUT) * 1000) + self._ahead
        reached, used, clock, moment, *rest = self._call(script, keys, rows, deadline, at_least=4)
        self._ahead = moment - round(time.monotonic() * 1000)
        if reached < 0:
            raise OSError("Redis answers too late")
        return [reached, used, clock, *rest]

    def _call(
        self, script: str, keys: Sequence[str], rows: Sequence[Sequence[int]], deadline: int = 0, *, at_least: int
    ) -> list[int]:
        """The script's reply: a list of at least so many whole numbers."""
        from redis import RedisError

        self._connect()
        arguments = [PREFIX, self._worker, deadline, *(value for row in rows for value in row)]
        try:
            reply = getattr(self, script)(keys=keys, args=arguments)
        except RedisError as error:
            raise OSError(f"Redis does not answer ({type(error).__name__})") from error
        if not (isinstance(reply, list) and len(reply) >= at_least and all(type(each) is int for each in reply)):
            raise OSError(_NONSENSE)
        return cast("list[int]", reply)

    def _connect(self) -> Redis:
        if self._redis is None:
            self._redis = open_redis(self._url)
            self._take = self._redis.register_script(_TAKE)
            self._settle = self._redis.register_script(_SETTLE)
            self._look = self._redis.register_script(_LOOK)
        return self._redis


_NONSENSE = "Redis answers with something else than counts"


def _window(limit: Limit) -> int:
    return limit.bucket or (0 if limit.kind == "parallel" else _WINDOWS[limit.period])


def _key(demand: Demand) -> str:
    return PREFIX + demand.place.hex()


def _lasts(limit: Limit) -> int:
    """Seconds after which Redis may forget an unused limit."""
    return limit.bucket * (PARTS + 2) if limit.bucket else 40 * 86_400
