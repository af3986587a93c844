"""Published knowledge-enhanced systems."""
