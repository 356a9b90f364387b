"""The house itself: that its documents lead where they say."""
