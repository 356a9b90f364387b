-- Whose presence in a room has changed of late: for a connection that comes back and heard nothing meanwhile.
-- KEYS: clock (not read), the room's users, who has left the room. ARGV[3..6]: node that asks, prefix of nodes'
-- keys, seconds, users that are listed at most.
-- Answers {user, status, connections, news, ...}: all who are there, and as "offline" those who were. News: 0
-- none, 1 changed, 2 had left and came back. Beyond the limit their number alone.
local count = redis.call('HLEN', KEYS[2])
if count > tonumber(ARGV[6]) then return count end
local alive, since = {[ARGV[3]] = true}, now()[1] - ARGV[5]
local found, out, listed, left = redis.call('HGETALL', KEYS[2]), {}, {}, {}
local gone = redis.call('ZRANGEBYSCORE', KEYS[3], since, '+inf', 'LIMIT', 0, ARGV[6])
for _, user in ipairs(gone) do left[user] = true end
local function tell(user, status, connections, changed)
  listed[user] = true
  for _, each in ipairs({user, status, connections, changed}) do out[#out + 1] = each end
end
for i = 1, #found, 2 do
  local status, connections, changed = nil, 0, 0
  for node, here in pairs(cmsgpack.unpack(found[i + 1])) do
    if alive[node] == nil then alive[node] = redis.call('EXISTS', ARGV[4] .. node) == 1 end
    if not alive[node] or (here[3] or since) >= since then changed = 1 end
    if alive[node] then
      if status ~= 'online' then status = here[1] end
      connections = connections + here[2]
    end
  end
  if status and left[found[i]] then changed = 2 end
  tell(found[i], status or 'offline', connections, changed)
end
for _, user in ipairs(gone) do
  if not listed[user] then tell(user, 'offline', 0, 1) end
end
return out
