"""Whole nodes in one process, on a clock, a network, a Redis and a database that fail on command."""
