-- A stream's text from a chunk index on. KEYS: clock, the stream. ARGV[3]: index.
-- Answers {next index, start, closed, ended, text (`text_of`)}, or nothing where nothing of it is known.
clock()
local s = open_stream(KEYS[2])
if not s then return nil end
return {next_index(s), s.start, s.closed and 1 or 0, s.ended and 1 or 0, (text_of(s, ARGV[3]))}
