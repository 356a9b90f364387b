-- No more chunks for a stream; what was logged of it. KEYS: clock, the stream, the room's streams.
-- ARGV[3..5]: stream, room, window (s). Answers {next index, start, ended, text (`text_of`)}.
clock()
local s = stream_of(KEYS[2], ARGV[4])
s.closed = s.closed or true
save_stream(s, tonumber(ARGV[5]))
if not s.ended then
  redis.call('SADD', KEYS[3], ARGV[3])
  redis.call('EXPIRE', KEYS[3], ARGV[5])
end
return {next_index(s), s.start, s.ended and 1 or 0, (text_of(s, 0))}
