"""OpenAI's HTTP API: chat completions, responses and models (docs/doors.md). A model is an agent."""
