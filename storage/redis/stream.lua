-- A stream is a list: its marks, then the pieces that were logged. One key, so never half of it.
local function open_stream(key)
  local marks = redis.call('LINDEX', key, 0)
  if marks then
    local m = cmsgpack.unpack(marks)
    if m[1] == epoch then
      return {key = key, start = m[2], closed = m[3], ended = m[4], room = m[5], status = m[6]}
    end
    redis.call('DEL', key)
  end
  return nil
end

local function save_stream(s, ttl)
  local marks = cmsgpack.pack({epoch, s.start, s.closed, s.ended, s.room, s.status})
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

-- It is written on after its end: a start later than that end, whose revision `closed` is where it is known; else
-- it lies between the starts.
local function begin_anew(s, start)
  if not s.closed then return end
  local over = s.closed
  if over == true then
    if s.start == 0 then return end
    over = s.start + 1
  end
  if start > over then
    s.closed, s.ended = false, false
    redis.call('LTRIM', s.key, 0, 0)
  end
end

local function next_index(s)
  if s.fresh then return 0 end
  return redis.call('LLEN', s.key) - 1
end

-- What its pieces add up to from one on, and its bytes. A piece of another part than the message's own text has
-- the part's name before it, between bytes that no UTF-8 has. Where there is one, the answer is part, pieces and
-- text of each run of neighbours; pieces of a part whose name begins with '=' are runs of their own.
local function text_of(s, from)
  local pieces = redis.call('LRANGE', s.key, from + 1, -1)
  local text = table.concat(pieces)
  if not string.find(text, '\255', 1, true) then return text, #text end
  local runs, run, last = {}, {}, nil
  for _, piece in ipairs(pieces) do
    local part, rest = '', piece
    if string.byte(piece) == 255 then part, rest = string.match(piece, '^\255([^\255]*)\255(.*)$') end
    if part ~= last or string.byte(part) == 61 then
      if last then runs[#runs + 1] = table.concat(run) end
      runs[#runs + 1], runs[#runs + 2], run, last = part, 0, {}, part
    end
    run[#run + 1] = rest
    runs[#runs] = #run
  end
  runs[#runs + 1] = table.concat(run)
  return runs, #text
end
