"""The identity behind a request: tokens, addresses, origins. Knows no command and no transport."""
