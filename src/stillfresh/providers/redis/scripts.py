"""
What the server decides by itself, in one step: the scripts.

Each names all of its keys, and each may be sent again when the server does not know it: then
nothing of it was carried out. Reading and dropping by key or tag need none.
"""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, Final

from .client import OnRun

if TYPE_CHECKING:
    from .client import Command


class Script:
    """A text in Lua, and the name under which the server remembers it."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text.strip().encode()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


# What is of another kind than a text reads as nothing: something else wrote it.
_GET: Final = """
local function get(key)
  return redis.call('MGET', key)[1]
end
"""

_OWN: Final = (
    _GET
    + """
local function own(key, token)
  return string.sub(get(key) or '', 1, #token) == token
end
"""
)

_MARK: Final = """
local function mark_of(v)
  if string.sub(v, 1, 3) == 'SF\\1' then return string.sub(v, 13, 36) end
  return redis.sha1hex(v)
end
"""

# The version of a tag; one that has none gets a fresh one. Where what an earlier life of the
# server wrote does not count ('discards'), its run is written anew: what was computed then reads as
# invalidated, and what was put there by hand compares only what follows the run.
_VERSION: Final = """
local function version(key, fresh, least, hold, discards)
  local token = get(key)
  if not token then
    redis.call('SET', key, fresh, 'PX', hold)
    return fresh
  end
  if discards == '1' and string.sub(token, 1, 9) ~= string.sub(fresh, 1, 9) then
    token = string.sub(fresh, 1, 9) .. string.sub(token, 10)
    redis.call('SET', key, token, 'KEEPTTL')
  end
  if least == 'ever' then redis.call('PERSIST', key)
  else
    local left = redis.call('PTTL', key)
    if left >= 0 and left < tonumber(least) then redis.call('PEXPIRE', key, hold) end
  end
  return token
end
"""

# Who may compute. An entry that the caller has not seen comes first; then whoever holds the
# lease; then the caller gets it. The versions of the tags are noted together with the grant:
# what is invalidated from here on is seen by the store. In a cluster they are on other nodes:
# they were noted before, and only their digest comes along.
#
# A lease is its kind ('c' computes, 'p' puts, 'e' has ended without a value), the server's run,
# the token of the attempt, a digest of the versions, and the token of the last one that ended
# without a value, which the next one inherits. One of another run, or of other versions, counts
# as ended: the server was restarted, or a tag was dropped. Who puts takes it from who computes.
ACQUIRE: Final = Script(
    _GET
    + _MARK
    + _VERSION
    + """
-- KEYS value lease marker* fence*   ARGV head px seen mode markers fresh hold discards digest
local v = get(KEYS[1])
local mode, count, fresh, hold = ARGV[4], tonumber(ARGV[5]), ARGV[6], ARGV[7]
local found = {}
for i = 3, count + 2 do
  found[i - 2] = version(KEYS[i], fresh, hold / 2, hold, ARGV[8])
end
if #KEYS > count + 2 then
  for i, token in ipairs(redis.call('MGET', unpack(KEYS, count + 3))) do
    if not token then
      token = fresh
      redis.call('SET', KEYS[count + 2 + i], token)
    end
    found[count + i] = token
  end
end
if v and mode == 'miss' and mark_of(v) ~= ARGV[3] then
  return {'V', redis.call('PTTL', KEYS[1]), v, found}
end
local digest = ARGV[9]
if digest == '' then digest = redis.sha1hex(table.concat(found, '', 1, count)) end
local l, ended = get(KEYS[2]), ''
if l and string.sub(l, 2, 9) == string.sub(ARGV[1], 2, 9) then
  local kind = string.sub(l, 1, 1)
  ended = string.sub(l, 74)
  if kind == 'p' or (kind == 'c' and mode ~= 'put' and string.sub(l, 34, 73) == digest) then
    return {'W', string.sub(l, 1, 33), ended}
  end
end
redis.call('SET', KEYS[2], ARGV[1] .. digest .. ended, 'PX', ARGV[2])
return {'L', found}
"""
)

# Whether what was computed is written: only under the lease, and only if no tag was dropped
# since it was handed out. The lease ends in any case. The versions live longer than the entry,
# by so much that not every store prolongs them. Where there is no value, a mark says so for a
# while: those who wait do not queue behind the next one.
STORE: Final = Script(
    _OWN
    + """
-- KEYS value lease marker* fence*   ARGV lease frame px markers hold expected*
local l = get(KEYS[2]) or ''
if string.sub(l, 1, #ARGV[1]) ~= ARGV[1] then return 0 end
redis.call('DEL', KEYS[2])
for i = 3, #KEYS do
  if get(KEYS[i]) ~= ARGV[i + 3] then return 0 end
end
if ARGV[3] == 'settle' then
  redis.call('SET', KEYS[2], 'e' .. string.sub(l, 2, 73) .. string.sub(l, 10, 33), 'PX', 2000)
  return 1
end
for i = 3, tonumber(ARGV[4]) + 2 do
  if ARGV[3] == 'ever' then redis.call('PERSIST', KEYS[i])
  else
    local left = redis.call('PTTL', KEYS[i])
    if left >= 0 and left < tonumber(ARGV[3]) then
      redis.call('PEXPIRE', KEYS[i], ARGV[3] + ARGV[5])
    end
  end
end
if ARGV[3] == 'ever' then redis.call('SET', KEYS[1], ARGV[2])
else redis.call('SET', KEYS[1], ARGV[2], 'PX', ARGV[3]) end
return 1
"""
)

# The versions of tags that are known late, or that are on other nodes than the lease.
CAPTURE: Final = Script(
    _GET
    + _VERSION
    + """
-- KEYS marker*   ARGV fresh least hold discards
local found = {}
for i = 1, #KEYS do found[i] = version(KEYS[i], ARGV[1], ARGV[2], ARGV[3], ARGV[4]) end
return found
"""
)

# A lease goes back, or lives on, only if it is still the caller's own.
RELEASE: Final = Script(
    _OWN
    + """
-- KEYS lease   ARGV lease
if not own(KEYS[1], ARGV[1]) then return 0 end
return redis.call('DEL', KEYS[1])
"""
)

RENEW: Final = Script(
    _OWN
    + """
-- KEYS lease   ARGV lease px
if not own(KEYS[1], ARGV[1]) then return 0 end
return redis.call('PEXPIRE', KEYS[1], ARGV[2])
"""
)

# Stale from now on. What has no window after its freshness is of no use to anybody then.
EXPIRE: Final = Script(
    """
-- KEYS value lease
redis.call('DEL', KEYS[2])
local front = redis.pcall('GETRANGE', KEYS[1], 0, 59)
if front == '' then return 0 end
if type(front) ~= 'string' then front = '' end
if string.sub(front, 1, 3) == 'SF\\1' and string.sub(front, 45, 60) ~= string.rep('\\0', 16) then
  redis.call('SETRANGE', KEYS[1], 3, 'E')
else
  redis.call('DEL', KEYS[1])
end
return 1
"""
)

# A counter counts. Digits alone are added to at once. A frame goes to the caller first, who
# knows whether it is fresh and what begins where; it comes back with its mark ('add' to it, or
# it is 'over'). Its life and its front stay as they are.
INCR: Final = Script(
    _GET
    + _MARK
    + """
-- KEYS value lease   ARGV amount px head seen verdict start mark
local v = get(KEYS[1])
local front = nil
if v and string.sub(v, 1, 3) == 'SF\\1' then
  if mark_of(v) ~= ARGV[4] then return {'F', redis.call('PTTL', KEYS[1]), v} end
  if ARGV[5] == 'over' then v = false
  else front = string.sub(v, 1, 12) .. ARGV[7] .. string.sub(v, 37, tonumber(ARGV[6])) end
end
if not v then
  if ARGV[2] == 'ever' then redis.call('SET', KEYS[1], ARGV[3] .. ARGV[1])
  else redis.call('SET', KEYS[1], ARGV[3] .. ARGV[1], 'PX', ARGV[2]) end
  redis.call('DEL', KEYS[2])
  return {'N', ARGV[1]}
end
if front then
  redis.call('SET', KEYS[1], string.sub(v, tonumber(ARGV[6]) + 1), 'KEEPTTL')
end
local sum = redis.pcall('INCRBY', KEYS[1], ARGV[1])
if type(sum) == 'table' then
  if front then redis.call('SET', KEYS[1], v, 'KEEPTTL') end
  local why = sum['err']
  if string.find(why, 'integer') or string.find(why, 'overflow') then return {'T'} end
  return sum
end
local digits = redis.call('GET', KEYS[1])
if front then redis.call('SET', KEYS[1], front .. digits, 'KEEPTTL') end
redis.call('DEL', KEYS[2])
return {'N', digits}
"""
)

TEXTS: Final[dict[object, bytes]] = {
    script.sha: script.text for script in (ACQUIRE, STORE, CAPTURE, RELEASE, RENEW, EXPIRE, INCR)
}
"""What to send instead when the server does not know a name."""


def in_full(command: Command | OnRun) -> Command | OnRun:
    """Return *command* with the text of its script instead of the name."""
    if isinstance(command, OnRun):

        def make(run: bytes) -> Command:
            return _in_full(command.make(run))

        return OnRun(command.key, make)
    return _in_full(command)


def _in_full(command: Command) -> Command:
    name, sha, *rest = command
    if name != "EVALSHA":  # what is sent instead to a server that was restarted meanwhile
        return command
    return ("EVAL", TEXTS[sha], *rest)
