"""Tasks: what is asked of a model: data to batch, head, loss, a measure per example, submission files."""

from mm_kptm.tasks.protocol import Task, catalogue, check_fit, find

__all__ = ["Task", "catalogue", "check_fit", "find"]
