-- Asks every node to compare its view of the clock. KEYS: clock. ARGV[3..5]: the nodes' channel, the asker's
-- channel, a word. Answers {clock's view, how many nodes hear it}.
clock()
local hear = redis.call('PUBSUB', 'NUMSUB', ARGV[3])[2]
redis.call('PUBLISH', ARGV[3], 'Q' .. ARGV[5] .. ARGV[4])
local seen = view()
return {seen, pos, tonumber(hear)}
