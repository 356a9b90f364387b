-- A log begins (anew) at a revision, at a position of its own, and says so on the channel: no position
-- from before reaches past it, and a node that lacks what it leaves out notices.
-- KEYS: clock, marks, entries. ARGV[3..8]: channel, window (s), rev, seq, body, and open (only where there
-- is none) or reset (only where there is one that is behind). Answers the clock's view.
clock()
local rev = tonumber(ARGV[5])
local there = open_log(KEYS[2], KEYS[3])
if ARGV[8] == 'open' then
  if there then return {view()} end
elseif not there or log.rev >= rev then
  return {view()}
end
local mark = tick()
if redis.call('HGET', KEYS[2], 'epoch') ~= epoch and redis.call('EXISTS', KEYS[3]) == 1 then
  -- What it was tells nodes that come later how far their members are right.
  redis.call('RENAME', KEYS[3], KEYS[3] .. ':past')
  redis.call('EXPIRE', KEYS[3] .. ':past', ARGV[4])
end
redis.call('DEL', KEYS[3])
log = {marks = KEYS[2], entries = KEYS[3], rev = rev, seq = tonumber(ARGV[6]), pos = pos, trim = pos, n = 0, bytes = 0,
       kept = 0}
save_log(tonumber(ARGV[4]))
redis.call('PUBLISH', ARGV[3], 'F' .. epoch .. mark .. struct.pack('>I8I8', pos, 0) .. ARGV[7])
return {view()}
