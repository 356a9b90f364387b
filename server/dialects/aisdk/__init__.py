"""The AI SDK's UI message streams, for `useChat` and its kin (docs/doors.md). A chat is a session."""
