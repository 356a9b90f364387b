-- A canary through pub/sub and back. KEYS: clock. ARGV[3..4]: the node's channel, a word. Answers the epoch.
clock()
redis.call('EXPIRE', KEYS[1], 604800)
redis.call('PUBLISH', ARGV[3], 'C' .. ARGV[4])
return epoch
