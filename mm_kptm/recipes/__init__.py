"""Published systems that need no wing: text encoders."""
