-- A room is erased. KEYS: clock, marks, entries, the room's streams. ARGV[3]: prefix of streams' keys.
for _, name in ipairs(redis.call('SMEMBERS', KEYS[4])) do
  redis.call('DEL', ARGV[3] .. name)
end
return redis.call('DEL', KEYS[2], KEYS[3], KEYS[3] .. ':past', KEYS[4])
