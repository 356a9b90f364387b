"""Webhooks: what is committed, told to addresses outside (docs/webhooks.md)."""
