-- What a stream's producer does, for who joins. KEYS: clock, the stream. ARGV[3..4]: the status ('' for nothing),
-- window (s).
clock()
local s = open_stream(KEYS[2])
if s and not s.closed then
  s.status = ARGV[3] ~= '' and ARGV[3] or nil
  save_stream(s, tonumber(ARGV[4]))
end
return 1
