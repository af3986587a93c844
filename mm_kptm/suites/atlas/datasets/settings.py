"""Settings of Atlas's drawings and names as the dataset of an experiment."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cache
from pathlib import Path
from typing import Literal

from mm_kptm.data.tokenizers.opening import open_tokenizer
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.datasets.settings import check_mask_rate, fingerprints
from mm_kptm.errors import UserError, nearest
from mm_kptm.suites.atlas.data.atlas import ATLAS_VERSION, EMBEDDED, TOKENIZER, Atlas, open_atlas

#: Styles by one vendor, or drawn after each other: no two of a set may be on both sides of ``style``.
SAME_HAND = (frozenset({"openmoji", "openmoji-black"}), frozenset({"fluent-flat", "fluent-3d"}))


def check_styles(atlas: Atlas, styles: Sequence[str], unseen: str) -> None:
    """Raise an error unless all styles are drawn, and the unseen one by another hand than those of training.

    Raises:
        UserError: it is not so.
    """
    for style in (*styles, unseen):
        if style not in atlas.styles:
            raise UserError(f"Atlas has no drawings in the style {style!r}{nearest(style, atlas.styles)}")
    if unseen in styles:
        raise UserError(f"data.unseen_style is {unseen}, which data.styles trains; leave it out there")
    for hands in SAME_HAND:
        if unseen in hands and (trained := sorted(hands & set(styles))):
            raise UserError(
                f"data.unseen_style is {unseen}, which shows the drawings of {trained[0]} again; a style is unseen "
                "only where another hand drew it"
            )


@dataclass(frozen=True)
class AtlasData:
    """Atlas, the built-in benchmark of real drawings with their names in twelve languages; no download."""

    name: Literal["atlas"] = "atlas"
    folder: Path | None = None  #: a larger tier, from `mm-kptm data fetch atlas`; the embedded one when null
    split: Literal["iid", "style", "concept", "style-concept", "subgroup", "lang-text", "lang-0"] = "iid"
    """What test asks; every split is also test-NAME."""
    styles: tuple[str, ...] = ("noto", "fluent-flat")  #: drawings that are trained; the first one is tested
    unseen_style: str = "noto-v1"  #: drawings of the split style
    languages: tuple[str, ...] = ("en", "de", "fr", "es", "zh", "ru", "ar", "hi")  #: of names beside drawings
    parallel_languages: tuple[str, ...] = ("ja", "sw")  #: of names beside other names alone
    parallel_weight: float = 1.0  #: of the contrast of names with names; 0: such languages are never read
    augment: bool = True  #: whether training turns, moves, scales and tints drawings
    image_size: int = 48  #: side of the squares that the image tower reads
    max_length: int = 32  #: pieces of a name that are read, special ones included
    mask_rate: float = 0.15  #: masking rate of masked-tokens
    scenes: int = 8000  #: of training, where drawings of a scene are named or counted
    concept_skew: int = 1
    """Power of the uniform number that draws each concept of a training scene; 1: all are equally frequent, 3: every
    second one drawn is of an eighth of them, and the rest is a long tail."""
    sentences: tuple[Path, ...] = ()  #: of `mm-kptm data fetch parallel`, in JSON lines: pretraining reads them, too
    seed: int = 0  #: of what is drawn in evaluation

    def __post_init__(self) -> None:
        check_mask_rate(self.mask_rate)
        atlas = self.atlas
        for key in ("languages", "parallel_languages"):
            for language in getattr(self, key):
                if language not in atlas.languages:
                    raise UserError(
                        f"data.{key} has {language!r}, but Atlas speaks {', '.join(atlas.languages)}; more languages "
                        "come with `mm-kptm data fetch atlas`"
                    )
        if not self.languages or not self.styles:
            raise UserError("data.languages and data.styles must name at least one language and one style")
        if both := sorted(set(self.languages) & set(self.parallel_languages)):
            raise UserError(f"data.parallel_languages has {both[0]!r}, which is in data.languages; name it once")
        check_styles(atlas, self.styles, self.unseen_style)
        for key in ("scenes", "concept_skew"):
            if getattr(self, key) < 1:
                raise UserError(f"data.{key} is {getattr(self, key)} but must be at least 1")
        if self.max_length < 4 or self.image_size < 8 or self.parallel_weight < 0:
            raise UserError(
                f"data.max_length is {self.max_length}, data.image_size {self.image_size} and data.parallel_weight "
                f"{self.parallel_weight}; they must be at least 4, 8 and 0"
            )

    @property
    def atlas(self) -> Atlas:
        """The tier."""
        return open_atlas(EMBEDDED if self.folder is None else self.folder)

    def tokenizer(self) -> Tokenizer:
        """Byte-level pieces, learnt on names that no split holds out."""
        return atlas_tokenizer(self.atlas.folder / TOKENIZER)

    @property
    def unpaired_languages(self) -> tuple[str, ...]:
        """Languages that training never reads."""
        read = self.languages if not self.parallel_weight else (*self.languages, *self.parallel_languages)
        return tuple(language for language in self.atlas.languages if language not in read)

    @property
    def fingerprints(self) -> dict[str, str]:
        """Fingerprints of the data and of the settings that affect them."""
        return {
            "atlas": f"{ATLAS_VERSION}-{self.atlas.digest[:16]}",
            "settings": hashlib.sha256(repr(replace(self, sentences=())).encode()).hexdigest(),
            **fingerprints({f"sentences {number}": path for number, path in enumerate(self.sentences)}),
        }


@cache
def atlas_tokenizer(path: Path) -> Tokenizer:
    """The tokenizer of a tier, opened once."""
    return open_tokenizer(path)
