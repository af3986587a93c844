"""Atlas: a benchmark of real drawings, their names in many languages, and facts about the countries of flags."""

from mm_kptm.lazy import lazy

__all__ = ["data", "datasets", "demo"]

__getattr__ = lazy(__name__, {}, rooms=__all__)
