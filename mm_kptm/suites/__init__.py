"""Benchmarks that ship with the package; each is a whole: generator, datasets, demonstration."""

from mm_kptm.lazy import lazy

__all__ = ["number_world"]

__getattr__ = lazy(__name__, {}, rooms=__all__)
