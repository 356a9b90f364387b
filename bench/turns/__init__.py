"""How long one call keeps the event loop: every call of the contract, with the dearest input it may have."""
