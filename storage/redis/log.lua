-- A room's log: a hash of its marks, and a stream of its entries with ids "position-milliseconds".
-- Both or neither: where the number of entries is not what the marks say, there is no log.
local log

local function open_log(marks_key, entries_key)
  local m = redis.call('HMGET', marks_key, 'epoch', 'rev', 'seq', 'pos', 'trim', 'n', 'bytes')
  if m[1] ~= epoch or tonumber(m[6]) ~= redis.call('XLEN', entries_key) then
    return nil
  end
  log = {marks = marks_key, entries = entries_key, rev = tonumber(m[2]), seq = tonumber(m[3]),
         pos = tonumber(m[4]), trim = tonumber(m[5]), n = tonumber(m[6]), bytes = tonumber(m[7])}
  return log
end

local function save_log(window)
  redis.call('HSET', log.marks, 'epoch', epoch, 'rev', log.rev, 'seq', log.seq, 'pos', log.pos,
             'trim', log.trim, 'n', log.n, 'bytes', log.bytes)
  redis.call('EXPIRE', log.marks, window)
  if log.n > 0 then redis.call('EXPIRE', log.entries, window) end
end

local function drop_first(entry)
  redis.call('XDEL', log.entries, entry[1])
  log.n = log.n - 1
  log.bytes = log.bytes - #entry[2][2]
  log.trim = tonumber(string.match(entry[1], '^%d+'))
end

-- Bounded by count and bytes with every append ...
local function trim_log(size, bytes)
  while log.n > size or (log.bytes > bytes and log.n > 0) do
    drop_first(redis.call('XRANGE', log.entries, '-', '+', 'COUNT', 1)[1])
  end
end

-- ... and by age when it is read or asked for.
local function age_log(oldest)
  while log.n > 0 do
    for _, entry in ipairs(redis.call('XRANGE', log.entries, '-', '+', 'COUNT', 64)) do
      if tonumber(string.match(entry[1], '%d+$')) >= oldest then return end
      drop_first(entry)
    end
  end
end

local function now_ms()
  local time = redis.call('TIME')
  return time[1] * 1000 + math.floor(time[2] / 1000)
end

-- Stamp, keep and publish one event. What travels: 'E', epoch, position, position before, the event.
local function log_event(channel, body, now)
  tick()
  local stamped = 'E' .. epoch .. struct.pack('>I8I8', pos, log.pos) .. body
  redis.call('XADD', log.entries, string.format('%.0f-%.0f', pos, now), 'e', stamped)
  redis.call('PUBLISH', channel, stamped)
  log.pos = pos
  log.n = log.n + 1
  log.bytes = log.bytes + #stamped
end
