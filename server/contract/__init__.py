"""The contract as data: OpenAPI, AsyncAPI, TypeScript, tables; from `events/schema.py` and `payloads.py`."""
