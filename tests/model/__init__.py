"""Delivery and recovery as an executable specification: the rules of `events/` and `storage/redis/`,
without a clock or a network, run over random schedules with faults. See `README.md`."""
