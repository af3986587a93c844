"""Knowledge: graphs, entities and facts beside text."""

from mm_kptm.lazy import lazy

__all__ = ["embedding", "fusion", "graph", "injection", "kinds", "lexicons", "linking", "objectives", "recipes"]

__getattr__ = lazy(__name__, {}, rooms=__all__)
