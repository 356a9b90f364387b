-- Who has left a room is remembered for so many seconds: a connection that comes back may not know it yet.
local function remember(key, user, seconds)
  redis.call('ZADD', key, now()[1], user)
  redis.call('ZREMRANGEBYSCORE', key, '-inf', now()[1] - seconds)
  redis.call('EXPIRE', key, seconds)
end
