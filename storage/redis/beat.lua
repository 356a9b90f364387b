-- A node's heartbeat: renews its lease, and takes over what dead nodes left behind, so much at a time.
-- KEYS: clock (not read), nodes. ARGV[3..9]: node, address, lease (ms), prefix of nodes' keys, of nodes'
-- rooms, of rooms' users, of nodes' typing; ARGV[10]: rooms at most.
-- Answers {had a lease, was announced dead, left {room, user, ...}, typing {room NUL user, ...}}.
local node, mine = ARGV[3], ARGV[6] .. ARGV[3]
local had = redis.call('EXISTS', mine)
redis.call('SET', mine, ARGV[4], 'PX', ARGV[5])
redis.call('SADD', KEYS[2], node)
redis.call('EXPIRE', KEYS[2], 604800)
for _, each in ipairs({ARGV[7] .. node, ARGV[9] .. node}) do redis.call('EXPIRE', each, 86400) end
local announced = redis.call('DEL', mine .. ':dead')

local left, typing = {}, {}
-- After Redis itself stood still every lease has lapsed: who has just lost its own judges nobody.
if had == 1 then
  local budget = tonumber(ARGV[10])
  for _, other in ipairs(redis.call('SMEMBERS', KEYS[2])) do
    if redis.call('EXISTS', ARGV[6] .. other) == 0 then
      for _, field in ipairs(redis.call('HKEYS', ARGV[9] .. other)) do typing[#typing + 1] = field end
      redis.call('DEL', ARGV[9] .. other)
      while budget > 0 do
        local room = redis.call('SPOP', ARGV[7] .. other)
        if not room then break end
        budget = budget - 1
        local users = ARGV[8] .. room
        local found = redis.call('HGETALL', users)
        for i = 1, #found, 2 do
          local nodes = cmsgpack.unpack(found[i + 1])
          if nodes[other] then
            nodes[other] = nil
            if next(nodes) == nil then
              redis.call('HDEL', users, found[i])
              left[#left + 1] = room
              left[#left + 1] = found[i]
            else
              redis.call('HSET', users, found[i], cmsgpack.pack(nodes))
            end
          end
        end
      end
      redis.call('SET', ARGV[6] .. other .. ':dead', '1', 'EX', 3600)
      if budget > 0 then redis.call('SREM', KEYS[2], other) end
    end
  end
end
return {had, announced, left, typing}
