"""One file a command; `server/cli.py` finds them."""
