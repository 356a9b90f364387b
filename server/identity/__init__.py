"""Who is calling, and from where: tokens, addresses, origins. Knows no command and no transport."""
