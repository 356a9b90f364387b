-- All that there is of rooms' logs, whatever epoch it is of. KEYS: clock. ARGV[3]: prefix; then rooms.
-- Answers the entries of each.
local found = {}
for i = 4, #ARGV do
  local key, entries = ARGV[3] .. ':entries:' .. ARGV[i], {}
  for _, each in ipairs({key .. ':past', key}) do
    for _, entry in ipairs(redis.call('XRANGE', each, '-', '+')) do entries[#entries + 1] = entry[2][2] end
  end
  found[#found + 1] = entries
end
return found
