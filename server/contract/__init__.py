"""The contract as data: OpenAPI, AsyncAPI, TypeScript, tables; from `events/schema.py` and `payloads.py`."""

#: As in setup.cfg; a test holds the two together.
VERSION = "1.0.0"
