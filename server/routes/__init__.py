"""REST: build the command, call `dispatch`, shape the response. No business rule, no SQL."""
