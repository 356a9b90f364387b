-- A connection's record: not in another epoch, not over another node's, not over a newer one of this node.
-- A position of its own tells whether a store that went back still has what was written last.
-- KEYS: clock, record. ARGV[3..7]: epoch, generation, version, data, seconds.
-- Answers {ok | taken | late, clock's view}.
clock()
local old = redis.call('HMGET', KEYS[2], 'epoch', 'generation', 'version')
local generation, version = tonumber(ARGV[4]), tonumber(ARGV[5])
if old[1] == epoch then
  if tonumber(old[2]) > generation then return {'taken', view()} end
  if tonumber(old[2]) == generation and tonumber(old[3]) > version then return {'late', view()} end
end
if ARGV[3] ~= epoch then return {'late', view()} end
redis.call('HSET', KEYS[2], 'epoch', epoch, 'generation', generation, 'version', version, 'data', ARGV[6])
redis.call('EXPIRE', KEYS[2], ARGV[7])
return {'ok', epoch .. tick(), pos}
