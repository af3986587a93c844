"""What splits hold out: decided by a digest of the family, the same in every tier and on every machine."""

from __future__ import annotations

import hashlib

from mm_kptm.suites.atlas.data.concepts import Concept

HELD_OUT_SHARE = 0.15  #: of families
HELD_OUT_SUBGROUPS = frozenset({"food-fruit", "animal-marine", "musical-instrument", "transport-water"})


def held_out_concept(concept: Concept) -> bool:
    """Whether the split ``concept`` tests it and never trains it; so are all of its family."""
    return fraction("concept", concept.family) < HELD_OUT_SHARE


def held_out_subgroup(concept: Concept) -> bool:
    """Whether the split ``subgroup`` tests it: whole subgroups, and never a part of one."""
    return concept.subgroup in HELD_OUT_SUBGROUPS


def fraction(*path: str) -> float:
    """A number in [0, 1) that depends on the words alone."""
    return int.from_bytes(hashlib.sha256("/".join(path).encode()).digest()[:6]) / 2**48
