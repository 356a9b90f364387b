-- Users of one node in a room. KEYS: clock (not read), the room's users, the node's rooms, its lease, nodes,
-- who has left the room. ARGV[3..8]: node, room, seconds, mode ("all": these are all that the node has there),
-- lease (ms), seconds for which those who left are remembered; then user, status, connections (0: as it was).
-- A room's users are a hash: user -> {node = {status, connections, since when}}.
-- Answers those whom no node had before.
local node, room, mode, kept = ARGV[3], ARGV[4], ARGV[6], tonumber(ARGV[8])
-- What a node without a lease says counts for nobody: its first word may come before its first heartbeat, or
-- before the next one where Redis lost something. '-' stands for a heartbeat that is still to come.
if redis.call('SET', KEYS[4], '-', 'PX', ARGV[7], 'NX') then redis.call('SADD', KEYS[5], node) end
local listed, new = {}, {}
for i = 9, #ARGV, 3 do
  local user, count = ARGV[i], tonumber(ARGV[i + 2])
  local packed = redis.call('HGET', KEYS[2], user)
  local nodes = packed and cmsgpack.unpack(packed) or {}
  if next(nodes) == nil then new[#new + 1] = user end
  if count == 0 then count = nodes[node] and nodes[node][2] or 1 end
  local before = nodes[node]
  local since = before and before[1] == ARGV[i + 1] and before[3] or tonumber(now()[1])
  nodes[node] = {ARGV[i + 1], count, since}
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
        remember(KEYS[6], found[i], kept)
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
