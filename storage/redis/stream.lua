-- A stream's text is a list: its marks, then the pieces that were logged. One key, so never half of it.
local function open_stream(key)
  local marks = redis.call('LINDEX', key, 0)
  if marks then
    local m = cmsgpack.unpack(marks)
    if m[1] == epoch then
      return {key = key, start = m[2], closed = m[3], ended = m[4], room = m[5]}
    end
    redis.call('DEL', key)
  end
  return nil
end

local function save_stream(s, ttl)
  local marks = cmsgpack.pack({epoch, s.start, s.closed, s.ended, s.room})
  if s.fresh then
    redis.call('RPUSH', s.key, marks)
    s.fresh = false
  else
    redis.call('LSET', s.key, 0, marks)
  end
  redis.call('EXPIRE', s.key, ttl)
end

local function stream_of(key, room)
  return open_stream(key) or {key = key, start = 0, closed = false, ended = false, room = room, fresh = true}
end

local function next_index(s)
  if s.fresh then return 0 end
  return redis.call('LLEN', s.key) - 1
end
