-- Many rooms as of one cut. KEYS: clock. ARGV[3..8]: prefix, window (s), own cut (1: a fresh position: who
-- has seen it has seen all before, and gets of the entries what SQL does not tell: read marks and changes of
-- the session, among the newest 500), a position that a client has and its mark (0: none), bytes of entries and
-- texts beyond which rooms are incomplete; then pairs of room and the position that is asked from.
-- Answers {epoch and mark, cut, whether this history gave out the client's position, rooms}; a room is {} or
-- {rev, seq, pos, complete, entries, streams}, a stream
-- {name, next index, start, closed, text (`text_of`), and what its producer does where it said so}.
clock()
if ARGV[5] == '1' then tick() end
local window, oldest = tonumber(ARGV[4]), now_ms() - ARGV[4] * 1000
local given = tonumber(ARGV[6])
local genuine = given == 0 or gave_out(given, ARGV[7])
local rooms, left = {}, tonumber(ARGV[8])
for i = 9, #ARGV, 2 do
  local room, after = ARGV[i], tonumber(ARGV[i + 1])
  local names_key = ARGV[3] .. ':streams:' .. room
  if not open_log(ARGV[3] .. ':log:' .. room, ARGV[3] .. ':entries:' .. room) then
    rooms[#rooms + 1] = {}
  else
    age_log(oldest)
    if save_log(window) then redis.call('EXPIRE', names_key, lasts(window)) end
    local entries = {}
    if ARGV[5] == '1' and after < log.pos and log.n > 0 then
      local low = string.format('%.0f', after + 1)
      for _, entry in ipairs(redis.call('XREVRANGE', log.entries, '+', low, 'COUNT', 500)) do
        -- A stamp of 33 bytes, then an array of the room, the event's name, ...: short strings of msgpack.
        local head = string.sub(entry[2][2], 34, 34 + #room + 16)
        if string.find(head, '\164read', 1, true) or string.find(head, '\167session', 1, true) then
          table.insert(entries, 1, entry[2][2])
        end
      end
    elseif after < log.pos and log.n > 0 and left > 0 then
      for _, entry in ipairs(redis.call('XRANGE', log.entries, string.format('%.0f', after + 1), '+')) do
        entries[#entries + 1] = entry[2][2]
        left = left - #entry[2][2]
      end
    end
    local streams = {}
    for _, name in ipairs(redis.call('SMEMBERS', names_key)) do
      local s = open_stream(ARGV[3] .. ':stream:' .. name)
      if not s or s.ended then
        redis.call('SREM', names_key, name)
      elseif s.start <= log.rev then
        local text, size = '', 0
        if left > 0 then text, size = text_of(s, 0) end
        left = left - size
        streams[#streams + 1] = {name, next_index(s), s.start, s.closed and 1 or 0, text, s.status}
      end
    end
    rooms[#rooms + 1] = {log.rev, log.seq, log.pos, after >= log.trim and left > 0 and 1 or 0, entries, streams}
  end
end
local seen = view()
return {seen, pos, genuine and 1 or 0, rooms}
