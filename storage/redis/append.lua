-- Durable events in order of revision, or logged ones: append what is new and publish it, both or neither.
-- KEYS: clock, marks, entries, the room's streams. ARGV[3..9]: channel, prefix of streams' keys, room,
-- window (s), size, bytes, prefix of ids' keys; then for each event rev, frm, seq, stream, closed, id, body.
-- Answers {ok | gap | nobody, last rev, last seq, events that were known, clock's view}.
clock(true)
local window = tonumber(ARGV[6])
local streams = {}

for i = 10, #ARGV, 7 do
  local name = ARGV[i + 3]
  if name ~= '' and ARGV[i] ~= '0' then
    -- Whatever becomes of the entry: no chunk after an end, none before the start is logged.
    local s = streams[name] or stream_of(ARGV[4] .. name, ARGV[5])
    local rev = tonumber(ARGV[i])
    if ARGV[i + 4] == '1' then
      s.closed = math.max(rev, type(s.closed) == 'number' and s.closed or 0)
    else
      begin_anew(s, rev)
      s.start = rev
    end
    save_stream(s, window)
    streams[name] = s
    redis.call('SADD', KEYS[4], name)
    redis.call('EXPIRE', KEYS[4], window)
  end
end

if not open_log(KEYS[2], KEYS[3]) then
  return {'nobody', 0, 0, 0, view()}
end

local answer, changed, known, ms, told = 'ok', false, 0, now_ms(), log.seq
for i = 10, #ARGV, 7 do
  local rev, frm, seq, id = tonumber(ARGV[i]), tonumber(ARGV[i + 1]), tonumber(ARGV[i + 2]), ARGV[i + 5]
  local wanted = true
  if rev > 0 then
    if rev <= log.rev then
      wanted = false
      known = known + 1
    elseif (frm > 0 and frm or rev) > log.rev + 1 or (seq > 0 and seq <= told) then
      -- Also a message that is told of already: whoever fills was overtaken, it is a change now.
      answer = 'gap'
      break
    else
      local s = streams[ARGV[i + 3]]
      if s then
        if ARGV[i + 4] == '1' then
          s.ended = true
          redis.call('SREM', KEYS[4], ARGV[i + 3])
        else
          redis.call('LTRIM', s.key, 0, 0)  -- its chunks, if any, were in a log that is gone
        end
        save_stream(s, window)
      end
      log.rev = rev
      log.seq = math.max(log.seq, seq)
    end
  elseif id ~= '' then
    -- Of this epoch: what another one's log had is not there any more.
    wanted = redis.call('SET', ARGV[9] .. epoch .. id, '1', 'NX', 'EX', window)
  end
  if wanted then
    log_event(ARGV[3], ARGV[i + 6], ms)
    changed = true
  end
end
if changed then
  trim_log(tonumber(ARGV[7]), tonumber(ARGV[8]))
  save_log(window)
end
return {answer, log.rev, log.seq, known, epoch .. (log.mark or mark_of(pos)), pos}
