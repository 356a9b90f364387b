-- Compares the clock with what a node has seen; with a channel: and sends a canary there. KEYS: clock.
-- ARGV[3..4]: channel (or nothing) and word of the canary; then positions that the node has heard: epoch (12),
-- mark (4), position. Answers the clock's view.
clock()
for i = 5, #ARGV do
  local its_epoch = string.sub(ARGV[i], 1, 12)
  local lost = its_epoch > epoch
  if its_epoch == epoch then
    lost = gave_out(tonumber(string.sub(ARGV[i], 17)), string.sub(ARGV[i], 13, 16)) == false
  end
  if lost then
    begin_epoch(epoch, its_epoch)
    break
  end
end
if ARGV[3] ~= '' then
  redis.call('EXPIRE', KEYS[1], 604800)
  redis.call('EXPIRE', ring_key, 604800)
  redis.call('PUBLISH', ARGV[3], 'C' .. ARGV[4] .. epoch)
end
return {view()}
