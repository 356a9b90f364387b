-- Takes over what dead nodes left behind, so much at a time. KEYS: clock (not read), nodes. ARGV[3..8]: prefix
-- of nodes' keys, of nodes' rooms, of rooms' users, of who has left them, seconds for which those are remembered,
-- rooms at most; then the nodes.
-- Of one that did not say that it had told all, it is remembered that it died.
-- Answers {room, user, ...}: whom no node has any more.
local left, budget = {}, tonumber(ARGV[8])
for at = 9, #ARGV do
  local other = ARGV[at]
  -- It may have come back, or somebody else was faster.
  if redis.call('EXISTS', ARGV[3] .. other) == 0 and redis.call('SISMEMBER', KEYS[2], other) == 1 then
    while budget > 0 do
      local room = redis.call('SPOP', ARGV[4] .. other)
      if not room then break end
      budget = budget - 1
      local users = ARGV[5] .. room
      local found = redis.call('HGETALL', users)
      for i = 1, #found, 2 do
        local nodes = cmsgpack.unpack(found[i + 1])
        if nodes[other] then
          nodes[other] = nil
          if next(nodes) == nil then
            redis.call('HDEL', users, found[i])
            remember(ARGV[6] .. room, found[i], ARGV[7])
            left[#left + 1] = room
            left[#left + 1] = found[i]
          else
            redis.call('HSET', users, found[i], cmsgpack.pack(nodes))
          end
        end
      end
    end
    redis.call('SET', ARGV[3] .. other .. ':dead', '1', 'EX', 3600)
    if budget > 0 then redis.call('SREM', KEYS[2], other) end
    if redis.call('EXISTS', ARGV[3] .. other .. ':done') == 0 then
      redis.call('SET', KEYS[2] .. ':buried', other, 'EX', ARGV[7])
    end
  end
end
return left
