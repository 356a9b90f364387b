"""AG-UI 1.0 over HTTP, and the routes of CopilotKit's runtime (docs/doors.md). A thread is a session, a run a
question and its answer."""
