-- How far rooms' logs reach; keeps them alive. KEYS: clock. ARGV[3..4]: prefix, window (s); then rooms.
-- Answers rev and seq of each, -1 for a room without a log.
clock()
local window, oldest = tonumber(ARGV[4]), now_ms() - ARGV[4] * 1000
local found = {}
for i = 5, #ARGV do
  if open_log(ARGV[3] .. ':log:' .. ARGV[i], ARGV[3] .. ':entries:' .. ARGV[i]) then
    age_log(oldest)
    if save_log(window) then redis.call('EXPIRE', ARGV[3] .. ':streams:' .. ARGV[i], lasts(window)) end
    found[#found + 1] = log.rev
    found[#found + 1] = log.seq
  else
    found[#found + 1] = -1
    found[#found + 1] = -1
  end
end
return found
