"""Number World: a synthetic benchmark of handwritten numbers, facts about them and questions in five languages."""

from mm_kptm.lazy import lazy

__all__ = ["datasets", "demo", "generator"]

__getattr__ = lazy(__name__, {}, rooms=__all__)
