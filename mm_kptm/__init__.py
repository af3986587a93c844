"""Multimodal and knowledge-enhanced pretrained Transformers: every published system on one core."""

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"
__all__ = ["__version__", "build", "catalogue", "load", "push", "save"]

if TYPE_CHECKING:
    from mm_kptm.systems.discovery import catalogue
    from mm_kptm.systems.hub import push
    from mm_kptm.systems.pretrained import build, load
    from mm_kptm.systems.saved import save


def __getattr__(name: str) -> Any:
    """Import the few public names when they are first used: ``import mm_kptm`` alone stays light."""
    if name == "catalogue":
        from mm_kptm.systems.discovery import catalogue

        return catalogue
    if name == "push":
        from mm_kptm.systems.hub import push

        return push
    if name in ("build", "load", "save"):
        from mm_kptm.systems import pretrained, saved

        return getattr(saved if name == "save" else pretrained, name)
    raise AttributeError(f"module 'mm_kptm' has no attribute {name!r}")
