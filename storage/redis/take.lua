-- Take a connection over. KEYS: clock, record. ARGV[3..4]: seconds, what the owner's data begins with: asked for
-- by anybody else, the record stays as it was.
-- Answers {epoch, new generation, data, clock's view}, or nothing.
clock()
local found = redis.call('HMGET', KEYS[2], 'epoch', 'data')
if found[1] ~= epoch or string.sub(found[2], 1, #ARGV[4]) ~= ARGV[4] then return nil end
local generation = redis.call('HINCRBY', KEYS[2], 'generation', 1)
redis.call('HSET', KEYS[2], 'version', 0)  -- the new owner counts its own writes
redis.call('EXPIRE', KEYS[2], ARGV[3])
return {epoch, generation, found[2], epoch .. tick(), pos}
