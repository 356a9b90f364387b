"""Programs that the model servers' own environment runs (scripts/fetch_models); nothing here is imported."""
