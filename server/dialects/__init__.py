"""Dialects: wire forms of other products, for clients that people have already.

A dialect is a codec: a request becomes a command, an answer's events become its frames. It decides nothing
and keeps nothing; sessions, rights, limits and streams are those of every door.
"""
