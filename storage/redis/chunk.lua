-- Chunks of a stream: keep and publish them if they are next.
-- KEYS: clock, marks, entries, the stream, the room's streams. ARGV[3..11]: channel, room, window (s), size,
-- bytes, stream, start, index, body; then the pieces.
-- Answers {next | gap | closed | nobody, number, clock's view}.
clock(true)
local window, start = tonumber(ARGV[5]), tonumber(ARGV[9])
local function answer(what, number) return {what, number, view()} end
if not open_log(KEYS[2], KEYS[3]) then
  return answer('nobody', 0)
end
if log.rev < start then
  return answer('gap', log.rev)
end
local s = stream_of(KEYS[4], ARGV[4])
begin_anew(s, start)
if s.closed then
  return answer('closed', next_index(s))
end
if s.fresh then
  -- Its start is logged, its key is gone: the text comes again from the beginning, and the log may hold some of
  -- it. Nobody who asks for what he missed may get that twice.
  cut_log_off()
  save_log(window)
end
if s.fresh or s.start ~= start then
  s.start = start
  save_stream(s, window)
end
local n = next_index(s)
if tonumber(ARGV[10]) == n and #ARGV > 11 then
  -- One by one: Lua's stack holds some thousands.
  for i = 12, #ARGV do redis.call('RPUSH', s.key, ARGV[i]) end
  redis.call('SADD', KEYS[5], ARGV[8])
  log_event(ARGV[3], ARGV[11], now_ms())
  trim_log(tonumber(ARGV[6]), tonumber(ARGV[7]))
  if save_log(window) or n == 0 then
    redis.call('EXPIRE', s.key, lasts(window))
    redis.call('EXPIRE', KEYS[5], lasts(window))
  end
  n = n + #ARGV - 11
end
if log.mark then return {'next', n, epoch .. log.mark, pos} end
return answer('next', n)
