-- Which rooms' presence is not what a node found last; keeps all of them. KEYS: clock (not read), nodes, the
-- node's rooms. ARGV[3..9]: node, prefix of nodes' keys, of rooms' users, seconds, users that are listed at
-- most, prefix of who has left rooms, seconds for which those are remembered; then room, digest as found last, ...
-- Answers for each that differs {room, digest, number of users, user, status, connections, this node's status
-- ('' if it has none there), ...}; beyond the limit the number alone.
local node, leases, prefix, seconds, limit = ARGV[3], ARGV[4], ARGV[5], ARGV[6], tonumber(ARGV[7])
local alive, names = {[node] = true}, {}
local known = redis.call('SMEMBERS', KEYS[2])
for _, other in ipairs(known) do
  alive[other] = other == node or redis.call('EXISTS', leases .. other) == 1
  if alive[other] then names[#names + 1] = other end
end
table.sort(names)
-- A node that comes or goes changes who is there, and nothing of what is kept of a room.
local living = table.concat(names, ' ')

local out = {}
for i = 10, #ARGV, 2 do
  local room, key = ARGV[i], prefix .. ARGV[i]
  local count, found, digest = redis.call('HLEN', key), {}, nil
  redis.call('EXPIRE', key, seconds)
  redis.call('SADD', KEYS[3], room)
  if count > limit then
    digest = 'n' .. count
  else
    found = redis.call('HGETALL', key)
    digest = string.sub(redis.sha1hex(living .. '\0' .. table.concat(found, '\0')), 1, 16)
  end
  if digest ~= ARGV[i + 1] then
    local row = {room, digest, count}
    for at = 1, #found, 2 do
      local nodes, status, connections, dropped = cmsgpack.unpack(found[at + 1]), nil, 0, false
      for other, here in pairs(nodes) do
        -- What neither lives nor is to be taken over is left from a set of nodes that was lost.
        if alive[other] == nil then
          alive[other] = redis.call('EXISTS', leases .. other) == 1
          if not alive[other] then
            nodes[other] = nil
            dropped = true
          end
        end
        if alive[other] then
          if status ~= 'online' then status = here[1] end
          connections = connections + here[2]
        end
      end
      if dropped then
        if next(nodes) == nil then
          redis.call('HDEL', key, found[at])
          remember(ARGV[8] .. room, found[at], ARGV[9])
        else
          redis.call('HSET', key, found[at], cmsgpack.pack(nodes))
        end
      end
      if status then
        row[#row + 1] = found[at]
        row[#row + 1] = status
        row[#row + 1] = connections
        row[#row + 1] = nodes[node] and nodes[node][1] or ''
      end
    end
    out[#out + 1] = row
  end
end
redis.call('EXPIRE', KEYS[3], 86400)
return out
