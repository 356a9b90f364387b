-- The cluster's one clock: KEYS[1] is a hash of epoch, run and pos, lost together or not at all.
-- Each position has a mark of four letters, which KEYS[1]:marks keeps for the newest `SLOTS`: with its mark a
-- position was given out by this history and by no other (docs/adr/0010).
-- ARGV[1]: run id of this server. Another one than the clock's means that the data is of an earlier life (an
-- older snapshot, a replica that was promoted).
-- ARGV[2]: a random hexadecimal digit; then what the caller has seen of the clock: epoch (12), mark (4),
-- position; or nothing.
-- Where the data is of an earlier life, or not of the history that the caller has seen, the epoch begins anew
-- in this very step: logs, streams and records of another epoch count as absent.
local epoch, pos

-- As many positions as a busy cluster gives out in two minutes; 4 MiB.
local SLOTS = 1048576
local ring_key = KEYS[1] .. ':marks'

local time_now
local function now()
  if not time_now then time_now = redis.call('TIME') end
  return time_now
end

-- The next position, and its mark.
local function tick()
  pos = redis.call('HINCRBY', KEYS[1], 'pos', 1)
  local mark = string.format('%04x', (now()[2] * 31 + pos) % 65536)
  redis.call('SETRANGE', ring_key, pos % SLOTS * 4, mark)
  return mark
end

-- A node of an older version moves the clock on without one.
local function mark_of(position)
  local at = position % SLOTS * 4
  local mark = redis.call('GETRANGE', ring_key, at, at + 3)
  return mark ~= '\0\0\0\0' and mark or ''
end

-- Whether this history gave out a position; nil: it cannot say any more.
local function gave_out(position, mark)
  if position > pos then return false end
  if pos - position >= SLOTS then return nil end
  return mark_of(position) == mark
end

-- Positions of a later epoch sort after those of an earlier one, whatever has become of this server's time.
local function begin_epoch(known, seen)
  local function stamp(of) return tonumber(string.sub(of or '', 1, 11), 16) or 0 end
  local latest = math.max(stamp(known), stamp(seen))
  local mine = math.max(now()[1] * 4096 + math.floor(now()[2] / 256), latest + 1)
  epoch = string.format('%08x%03x', math.floor(mine / 4096), mine % 4096) .. string.sub(ARGV[2], 1, 1)
  redis.call('HSET', KEYS[1], 'epoch', epoch, 'run', ARGV[1], 'pos', 0)
  redis.call('HDEL', KEYS[1], 'sql')
  redis.call('DEL', ring_key)
  tick()
  redis.call('EXPIRE', KEYS[1], 604800)
  redis.call('EXPIRE', ring_key, 604800)
  if known or seen ~= '' then
    -- Those who have members in its rooms look at once.
    redis.call('PUBLISH', string.sub(KEYS[1], 1, -6) .. 'history', 'H' .. epoch)
  end
end

-- `swiftly`: the mark of what the caller has seen may wait for its next look, half a second at most.
local function clock(swiftly)
  local found = redis.call('HMGET', KEYS[1], 'epoch', 'run', 'pos')
  local seen = string.sub(ARGV[2], 2, 13)
  if found[1] and found[2] == ARGV[1] and seen <= found[1] then
    epoch, pos = found[1], tonumber(found[3])
    if seen ~= epoch then return end
    local position = tonumber(string.sub(ARGV[2], 18))
    if swiftly and position <= pos then return end
    if gave_out(position, string.sub(ARGV[2], 14, 17)) ~= false then return end
  end
  begin_epoch(found[1], seen)
end

-- What a caller sees of the clock now, as two values.
local function view() return epoch .. mark_of(pos), pos end
