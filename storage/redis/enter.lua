-- Users of one node in a room. KEYS: clock (not read), the room's users, the node's rooms.
-- ARGV[3..6]: node, room, seconds, mode ("all": these are all that the node has there); then user, status,
-- connections (0: as it was). A room's users are a hash: user -> {node = {status, connections}}.
-- Answers those whom no node had before.
local node, room, mode = ARGV[3], ARGV[4], ARGV[6]
local listed, new = {}, {}
for i = 7, #ARGV, 3 do
  local user, count = ARGV[i], tonumber(ARGV[i + 2])
  local packed = redis.call('HGET', KEYS[2], user)
  local nodes = packed and cmsgpack.unpack(packed) or {}
  if next(nodes) == nil then new[#new + 1] = user end
  if count == 0 then count = nodes[node] and nodes[node][2] or 1 end
  nodes[node] = {ARGV[i + 1], count}
  redis.call('HSET', KEYS[2], user, cmsgpack.pack(nodes))
  listed[user] = true
end
if mode == 'all' then
  local found = redis.call('HGETALL', KEYS[2])
  for i = 1, #found, 2 do
    local nodes = cmsgpack.unpack(found[i + 1])
    if nodes[node] and not listed[found[i]] then
      nodes[node] = nil
      if next(nodes) == nil then
        redis.call('HDEL', KEYS[2], found[i])
      else
        redis.call('HSET', KEYS[2], found[i], cmsgpack.pack(nodes))
      end
    end
  end
end
if next(listed) == nil and mode == 'all' then
  redis.call('SREM', KEYS[3], room)
else
  redis.call('SADD', KEYS[3], room)
end
redis.call('EXPIRE', KEYS[2], ARGV[5])
redis.call('EXPIRE', KEYS[3], ARGV[5])
return new
