"""
What the server decides by itself, in one step: the scripts.

Each names all of its keys, and each may be sent again when the server does not know it: then
nothing of it was carried out. Reading and dropping by key or tag need none.
"""

from __future__ import annotations

import hashlib
from typing import Final


class Script:
    """A text in Lua, and the name under which the server remembers it."""

    __slots__ = ("sha", "text")

    def __init__(self, text: str) -> None:
        self.text = text.strip().encode()
        self.sha = hashlib.sha1(self.text, usedforsecurity=False).hexdigest().encode()


_OWN: Final = """
local function own(key, token)
  return string.sub(redis.call('GET', key) or '', 1, #token) == token
end
"""

_MARK: Final = """
local function mark_of(v)
  if string.sub(v, 1, 3) == 'SF\\1' then return string.sub(v, 13, 36) end
  return redis.sha1hex(v)
end
"""

# Who may compute. An entry that the caller has not seen comes first; then whoever holds the
# lease; then the caller gets it. The versions of the tags are noted together with the grant:
# what is invalidated from here on is seen by the store.
#
# A lease is its kind ('c' computes, 'p' puts), the server's run, the token of the attempt, and
# a digest of the versions. One of another run, or of other versions, counts as ended: the
# server was restarted, or a tag was dropped. Who puts takes it from who computes.
ACQUIRE: Final = Script(
    _MARK
    + """
-- KEYS value lease marker* fence*   ARGV head px seen mode markers fresh hold
local v = redis.call('GET', KEYS[1])
local mode, count, fresh, hold = ARGV[4], tonumber(ARGV[5]), ARGV[6], tonumber(ARGV[7])
local found = {}
for i = 3, count + 2 do
  local token = redis.call('GET', KEYS[i])
  if not token then
    token = fresh
    redis.call('SET', KEYS[i], token, 'PX', hold)
  else
    local left = redis.call('PTTL', KEYS[i])
    if left >= 0 and left < hold / 2 then redis.call('PEXPIRE', KEYS[i], hold) end
  end
  found[i - 2] = token
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
local digest = redis.sha1hex(table.concat(found, '', 1, count))
local l = redis.call('GET', KEYS[2])
if l and string.sub(l, 2, 9) == string.sub(ARGV[1], 2, 9) then
  local puts = string.sub(l, 1, 1) == 'p'
  if puts or (mode ~= 'put' and string.sub(l, 34) == digest) then return {'W'} end
end
redis.call('SET', KEYS[2], ARGV[1] .. digest, 'PX', ARGV[2])
return {'L', found}
"""
)

# Whether what was computed is written: only under the lease, and only if no tag was dropped
# since it was handed out. The lease ends in any case. The versions live longer than the entry,
# by so much that not every store prolongs them.
STORE: Final = Script(
    _OWN
    + """
-- KEYS value lease marker* fence*   ARGV lease frame px markers hold expected*
if not own(KEYS[2], ARGV[1]) then return 0 end
redis.call('DEL', KEYS[2])
for i = 3, #KEYS do
  if redis.call('GET', KEYS[i]) ~= ARGV[i + 3] then return 0 end
end
if ARGV[3] == 'settle' then return 1 end
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

# The versions of tags that are known late; a tag that has none gets one.
CAPTURE: Final = Script(
    """
-- KEYS marker*   ARGV fresh hold
local found = {}
for i = 1, #KEYS do
  local token = redis.call('GET', KEYS[i])
  if not token then
    token = ARGV[1]
    redis.call('SET', KEYS[i], token, 'PX', ARGV[2])
  else
    local left = redis.call('PTTL', KEYS[i])
    if left >= 0 and left < tonumber(ARGV[2]) / 2 then
      redis.call('PEXPIRE', KEYS[i], ARGV[2])
    end
  end
  found[i] = token
end
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
local front = redis.call('GETRANGE', KEYS[1], 0, 59)
if front == '' then return 0 end
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
    _MARK
    + """
-- KEYS value lease   ARGV amount px head seen verdict start mark
local v = redis.call('GET', KEYS[1])
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
