-- The cluster's one clock: KEYS[1] is a hash of epoch, run and pos, lost together or not at all.
-- ARGV[1]: run id of this server. Another one than the clock's means that the data is of an earlier life
-- (an older snapshot, a replica that was promoted): positions would be given out a second time, so the
-- epoch begins anew, and logs, streams and records of another epoch count as absent.
-- ARGV[2]: a random token of hexadecimal digits: what begins at the same moment on two servers is told apart.
local epoch, pos

local function clock()
  local found = redis.call('HMGET', KEYS[1], 'epoch', 'run', 'pos')
  if found[1] and found[2] == ARGV[1] then
    epoch, pos = found[1], tonumber(found[3])
  else
    -- Positions of a later epoch sort after those of an earlier one.
    local time = redis.call('TIME')
    epoch, pos = string.format('%08x%03x', time[1], math.floor(time[2] / 256)) .. string.sub(ARGV[2], 1, 1), 0
    redis.call('HSET', KEYS[1], 'epoch', epoch, 'run', ARGV[1], 'pos', 0)
    redis.call('EXPIRE', KEYS[1], 604800)
  end
end

local function tick()
  pos = redis.call('HINCRBY', KEYS[1], 'pos', 1)
end
