"""Doors: a client's frames to commands, events and replies to a client's frames. No business rule, no SQL."""
