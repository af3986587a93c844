"""Benchmark suites of the package, each with a generator, datasets and a demonstration."""

from mm_kptm.lazy import lazy

__all__ = ["number_world"]

__getattr__ = lazy(__name__, {}, rooms=__all__)
