-- A stream's text from a chunk index on. KEYS: clock, the stream. ARGV[3]: index.
-- Answers {next index, start, closed, ended, text (`text_of`), and where there are other parts the same from the
-- beginning on}, or nothing where nothing of it is known.
clock()
local s = open_stream(KEYS[2])
if not s then return nil end
local text, whole = text_of(s, ARGV[3]), nil
if tonumber(ARGV[3]) > 0 then
  whole = text_of(s, 0)
  if type(whole) == 'string' then whole = nil end
end
return {next_index(s), s.start, s.closed and 1 or 0, s.ended and 1 or 0, text, whole}
