-- A token bucket. KEYS: clock (not read), bucket. ARGV[3..4]: capacity, tokens per second.
-- Answers milliseconds until there is a token; where one was taken how many are left, below or at 0.
local capacity, rate = tonumber(ARGV[3]), tonumber(ARGV[4])
local time = redis.call('TIME')
local now = time[1] + time[2] / 1000000
local found = redis.call('HMGET', KEYS[2], 'tokens', 'at')
local tokens = capacity
if found[1] then
  -- Whatever somebody has written there, nobody waits for more than a token.
  tokens = math.min(capacity, math.max(0, found[1]) + math.max(0, now - found[2]) * rate)
end
local answer
if tokens >= 1 then
  tokens = tokens - 1
  answer = -math.floor(tokens)
else
  answer = math.ceil((1 - tokens) / rate * 1000)
end
redis.call('HSET', KEYS[2], 'tokens', string.format('%.6f', tokens), 'at', string.format('%.6f', now))
-- A full bucket is as good as none.
redis.call('PEXPIRE', KEYS[2], math.ceil((capacity - tokens) / rate * 1000) + 1000)
return answer
