"""Tasks: batches, heads, losses, measures per example and submission files."""

from mm_kptm.tasks.protocol import Task, catalogue, check_fit, find

__all__ = ["Task", "catalogue", "check_fit", "find"]
