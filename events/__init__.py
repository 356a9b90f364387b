"""The domain: what a command does. Knows no Starlette, no Socket.IO, no SQL and no Redis."""
