"""Counts in a Redis that hosts share, with one atomic script each for taking and settling."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from app.rate_limits.counts import PARTS, Demand, Full, Limit, Taken
from app.rate_limits.redis_link import open_redis

if TYPE_CHECKING:
    from redis import Redis

PREFIX = "dragoman:limits:"
# Seconds without a sign of life after which a worker's running requests no longer count.
LEASE = 15

# All scripts get for each limit: bucket (seconds, or 0), number of the day or month, and more. Bucket numbers follow
# the clock of Redis, since the hosts' clocks differ. Taking replies with the index of the reached limit, or 0; its
# count; the time; and then either the numbers of the demands' buckets and the new counts, or the buckets of the reached
# limit.
_USED = (
    f"local LEASE, PARTS = {LEASE}, {PARTS}"
    + """
local prefix, worker = ARGV[1], ARGV[2]
local clock = redis.call('TIME')
local now = tonumber(clock[1])
redis.call('SET', prefix .. 'worker:' .. worker, 1, 'EX', LEASE)
local function number_of(bucket, given)
  if bucket > 0 then return math.floor(now / bucket) end
  return given
end
local function used_of(key, bucket, number)
  local fields = redis.call('HGETALL', key)
  local used, found = 0, {}
  for i = 1, #fields, 2 do
    local field, count = fields[i], tonumber(fields[i + 1])
    local sign = string.sub(field, 1, 1)
    if sign == 'w' then
      if redis.call('EXISTS', prefix .. 'worker:' .. string.sub(field, 2)) == 0 then
        redis.call('HDEL', key, field)
      else
        used = used + count
      end
    elseif tonumber(field) < number - PARTS * math.min(bucket, 1) then
      redis.call('HDEL', key, field)
    else
      used = used + count
      found[#found + 1] = tonumber(field)
      found[#found + 1] = count
    end
  end
  return used, found
end
"""
)
_TAKE = (
    _USED
    + """
local numbers, counted = {0, 0, now}, {}
for i, key in ipairs(KEYS) do
  local at = 3 + (i - 1) * 5
  local bucket, most = tonumber(ARGV[at]), tonumber(ARGV[at + 2])
  local number = number_of(bucket, tonumber(ARGV[at + 1]))
  local used, found = used_of(key, bucket, number)
  if used >= most then
    local reply = {i, used, now}
    for _, each in ipairs(found) do reply[#reply + 1] = each end
    return reply
  end
  numbers[3 + i] = number
  counted[i] = used
end
for i, key in ipairs(KEYS) do
  local at = 3 + (i - 1) * 5
  local bucket, amount, lasts = tonumber(ARGV[at]), tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4])
  local field = bucket > 0 and string.format('%d', numbers[3 + i]) or 'w' .. worker
  redis.call('HINCRBY', key, field, amount)
  redis.call('EXPIRE', key, lasts)
  numbers[3 + #KEYS + i] = counted[i] + amount
end
return numbers
"""
)
# Arguments for each limit: bucket, number of the day or month.
_LOOK = (
    _USED
    + """
local reply = {}
for i, key in ipairs(KEYS) do
  local bucket = tonumber(ARGV[1 + 2 * i])
  reply[i] = used_of(key, bucket, number_of(bucket, tonumber(ARGV[2 + 2 * i])))
end
return reply
"""
)
# Arguments for each limit: bucket, number of the current day or month, number of the demand's bucket, its amount, what
# was used, seconds to keep the key.
_SETTLE = (
    _USED
    + """
for i, key in ipairs(KEYS) do
  local at = 3 + (i - 1) * 6
  local bucket, taken = tonumber(ARGV[at]), tonumber(ARGV[at + 2])
  local amount, used, lasts = tonumber(ARGV[at + 3]), tonumber(ARGV[at + 4]), tonumber(ARGV[at + 5])
  local number = number_of(bucket, tonumber(ARGV[at + 1]))
  local field = bucket > 0 and string.format('%d', taken) or 'w' .. worker
  local counted = tonumber(redis.call('HGET', key, field) or 0)
  if counted > 0 then redis.call('HINCRBY', key, field, -math.min(amount, counted)) end
  if used > 0 then redis.call('HINCRBY', key, string.format('%d', number), used) end
  redis.call('EXPIRE', key, lasts)
end
return 1
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

    def take(self, demands: Sequence[Demand], now: float) -> Taken | Full:
        keys = [_key(demand) for demand in demands]
        rows = [(d.limit.bucket, d.limit.number(now), d.limit.maximum, d.amount, _lasts(d.limit)) for d in demands]
        reached, used, clock, *rest = self._call("_take", keys, rows)
        if not reached:
            numbers, counted = rest[: len(demands)], rest[len(demands) :]
            return Taken(self, tuple(zip(demands, numbers, strict=True)), tuple(counted))
        limit = demands[reached - 1].limit
        if limit.bucket:
            buckets = sorted(zip(rest[::2], rest[1::2], strict=True))
            return Full(limit, used, limit.free_again(used, buckets, clock))
        return limit.full(used, sum(rest[1::2]), clock)

    def settle(self, taken: Taken, actual: Sequence[int], now: float) -> None:
        changed = [
            (demand, number, used)
            for (demand, number), used in zip(taken.demands, actual, strict=True)
            if not demand.limit.bucket or used != demand.amount
        ]
        rows = [
            (d.limit.bucket, d.limit.number(now), number, d.amount, 0 if d.limit.kind == "parallel" else used,
             _lasts(d.limit))
            for d, number, used in changed
        ]  # fmt: skip
        if changed:
            self._call("_settle", [_key(demand) for demand, _, _ in changed], rows)

    def look(self, demands: Sequence[Demand], now: float) -> list[int]:
        rows = [(demand.limit.bucket, demand.limit.number(now)) for demand in demands]
        return self._call("_look", [_key(demand) for demand in demands], rows) if rows else []

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

    def _call(self, script: str, keys: Sequence[str], rows: Sequence[Sequence[int]]) -> list[int]:
        from redis import RedisError

        self._connect()
        arguments = [PREFIX, self._worker, *(value for row in rows for value in row)]
        try:
            return cast("list[int]", getattr(self, script)(keys=keys, args=arguments))
        except RedisError as error:
            raise OSError(f"Redis does not answer ({type(error).__name__})") from error

    def _connect(self) -> Redis:
        if self._redis is None:
            self._redis = open_redis(self._url)
            self._take = self._redis.register_script(_TAKE)
            self._settle = self._redis.register_script(_SETTLE)
            self._look = self._redis.register_script(_LOOK)
        return self._redis


def _key(demand: Demand) -> str:
    return PREFIX + demand.place.hex()


def _lasts(limit: Limit) -> int:
    """Seconds after which Redis may forget an unused limit."""
    return limit.bucket * (PARTS + 2) if limit.bucket else 40 * 86_400
