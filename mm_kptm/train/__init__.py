"""The training engine: a loop, its optimiser, its checkpoints and its log."""
