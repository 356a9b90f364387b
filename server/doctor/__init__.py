"""Examines a running Parley from outside, through the real proxy. Needs httpx and websockets only.

Knows the contract's wire, nothing of the server's insides.
"""
