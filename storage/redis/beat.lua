-- A node's heartbeat: renews its lease. KEYS: clock (not read), nodes, the node's rooms. ARGV[3..7]: node,
-- address, lease (ms), prefix of nodes' keys, what is left (ms) of a lease that may lapse before the next look.
-- Answers {had a lease, was announced dead, nodes whose lease has lapsed, the one that was buried last, nodes
-- whose lease is about to lapse}.
local node, mine = ARGV[3], ARGV[6] .. ARGV[3]
local lease = redis.call('GET', mine)
-- Of one that `enter` made nothing is known but that word: what was said before may be gone.
local had = lease and lease ~= '-' and 1 or 0
redis.call('SET', mine, ARGV[4], 'PX', ARGV[5])
redis.call('SADD', KEYS[2], node)
redis.call('EXPIRE', KEYS[2], 604800)
redis.call('EXPIRE', KEYS[3], 86400)
local announced = redis.call('DEL', mine .. ':dead')

local lapsed, fading = {}, {}
-- After Redis itself stood still every lease has lapsed: who has just lost its own judges nobody.
if had == 1 then
  for _, other in ipairs(redis.call('SMEMBERS', KEYS[2])) do
    local left = redis.call('PTTL', ARGV[6] .. other)
    if left == -2 then
      lapsed[#lapsed + 1] = other
    elseif left >= 0 and left < tonumber(ARGV[7]) then
      fading[#fading + 1] = other
    end
  end
end
return {had, announced, lapsed, redis.call('GET', KEYS[2] .. ':buried') or '', fading}
