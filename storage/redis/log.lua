-- A room's log: a hash of its marks, and a stream of its entries with ids "position-milliseconds".
-- Both or neither: where the number of entries is not what the marks say, there is no log.
local log

local function open_log(marks_key, entries_key)
  local m = redis.call('HMGET', marks_key, 'epoch', 'rev', 'seq', 'pos', 'trim', 'n', 'bytes', 'kept')
  if m[1] ~= epoch or tonumber(m[6]) ~= redis.call('XLEN', entries_key) then
    return nil
  end
  log = {marks = marks_key, entries = entries_key, rev = tonumber(m[2]), seq = tonumber(m[3]),
         pos = tonumber(m[4]), trim = tonumber(m[5]), n = tonumber(m[6]), bytes = tonumber(m[7]),
         kept = tonumber(m[8] or 0)}
  return log
end

-- Seconds that keys last: longer than the window, so that they need not be renewed with every append.
local function lasts(window) return window + math.ceil(window / 8) end

-- Whether keys beside the log are to be renewed, too.
local function save_log(window)
  redis.call('HSET', log.marks, 'epoch', epoch, 'rev', log.rev, 'seq', log.seq, 'pos', log.pos,
             'trim', log.trim, 'n', log.n, 'bytes', log.bytes)
  local due = math.abs(now()[1] - log.kept) * 8 >= window
  if due then
    redis.call('HSET', log.marks, 'kept', now()[1])
    redis.call('EXPIRE', log.marks, lasts(window))
    if log.n > 0 then redis.call('EXPIRE', log.entries, lasts(window)) end
  end
  return due
end

-- What was logged before is not to be replayed; who is served live goes on.
local function cut_log_off()
  redis.call('DEL', log.entries)
  log.n, log.bytes, log.trim = 0, 0, log.pos + 1
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
  return now()[1] * 1000 + math.floor(now()[2] / 1000)
end

-- Stamp, keep and publish one event. What travels: 'F', epoch, mark, position, position before, the event.
local function log_event(channel, body, ms)
  local mark = tick()
  local stamped = 'F' .. epoch .. mark .. struct.pack('>I8I8', pos, log.pos) .. body
  if log.n == 0 then log.kept = 0 end  -- a new key has no expiry
  redis.call('XADD', log.entries, string.format('%.0f-%.0f', pos, ms), 'e', stamped)
  redis.call('PUBLISH', channel, stamped)
  log.pos, log.mark = pos, mark
  log.n = log.n + 1
  log.bytes = log.bytes + #stamped
end
