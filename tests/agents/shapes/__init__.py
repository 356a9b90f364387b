"""What servers send, each with its source. docs/agents.md shows the same table (`test_shapes.py`)."""
