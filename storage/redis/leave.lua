-- A node has a user in a room no more. KEYS: clock (not read), the room's users, who has left the room.
-- ARGV[3..5]: node, user, seconds for which those who left are remembered.
-- Answers 1 if now no node has.
local packed = redis.call('HGET', KEYS[2], ARGV[4])
if not packed then return 1 end
local nodes = cmsgpack.unpack(packed)
nodes[ARGV[3]] = nil
if next(nodes) == nil then
  redis.call('HDEL', KEYS[2], ARGV[4])
  remember(KEYS[3], ARGV[4], ARGV[5])
  return 1
end
redis.call('HSET', KEYS[2], ARGV[4], cmsgpack.pack(nodes))
return 0
