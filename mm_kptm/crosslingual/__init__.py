"""Cross-lingual pretraining: parallel text, objectives and models of many languages."""

from mm_kptm.lazy import lazy

__all__ = ["alignment", "corpora", "modules", "objectives", "recipes"]

__getattr__ = lazy(__name__, {}, rooms=__all__)
