"""What ships ready-made: benchmark suites with generator, datasets and a demonstration; a search of pictures."""

from mm_kptm.lazy import lazy

__all__ = ["atlas", "number_world", "search"]

__getattr__ = lazy(__name__, {}, rooms=__all__)
