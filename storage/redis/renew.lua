-- The logs are those of this database's history: another one's count as absent. KEYS: clock. ARGV[3]: the
-- database's lineage. Answers the clock's view.
clock()
local known = redis.call('HGET', KEYS[1], 'sql')
if known and known ~= ARGV[3] then begin_epoch(epoch, '') end
if known ~= ARGV[3] then redis.call('HSET', KEYS[1], 'sql', ARGV[3]) end
return {view()}
