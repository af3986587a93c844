"""Pictures out of files that may be broken or hostile."""
