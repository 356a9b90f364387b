"""The schema's history. `migrations.run` applies it."""
