"""Published cross-lingual systems."""
