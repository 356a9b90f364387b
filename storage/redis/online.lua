-- Who is in a room on nodes that live. KEYS: clock (not read), the room's users. ARGV[3..4]: node that asks,
-- prefix of nodes' keys. Answers user, status, connections, ...; any "online" wins.
local alive = {[ARGV[3]] = true}
local found, out = redis.call('HGETALL', KEYS[2]), {}
for i = 1, #found, 2 do
  local status, count = nil, 0
  for node, here in pairs(cmsgpack.unpack(found[i + 1])) do
    if alive[node] == nil then alive[node] = redis.call('EXISTS', ARGV[4] .. node) == 1 end
    if alive[node] then
      if status ~= 'online' then status = here[1] end
      count = count + here[2]
    end
  end
  if status then
    out[#out + 1] = found[i]
    out[#out + 1] = status
    out[#out + 1] = count
  end
end
return out
