"""Agents: who answers a user's message. One interface (`base.Agent`), one file a kind."""
