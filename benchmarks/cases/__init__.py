"""One file per case; each has ``build(seed) -> Case``."""
