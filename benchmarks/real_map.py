"""Frozen encoders on drawings and names: ``python -m benchmarks.real_weights map`` and ``nearest``."""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Callable, Sequence
from functools import cached_property, partial
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from benchmarks.real_weights import BACKBONE, LANGUAGES, MEAN, MULTILINGUAL, STD, kept, load, name_vectors
from mm_kptm.batch import Images, Inputs
from mm_kptm.compression import ImageTeacher
from mm_kptm.suites.atlas.data.atlas import Atlas, open_atlas
from mm_kptm.suites.atlas.datasets.controls import pixel_ranks
from mm_kptm.suites.atlas.datasets.splits import Side, side_of
from mm_kptm.vision.contrastive.preparation import ImagePreparation

PENALTIES = (300, 1000, 3000)  #: of the map
POWERS = (0.0, 0.15, 0.25, 0.35)  #: by which the texts are whitened: 0 leaves them, 0.5 makes all directions equal
TEXT_PENALTY = 10  #: of the map from names to English ones
STYLES, UNSEEN = ("noto", "fluent-flat"), "noto-v1"  #: of the drawings that train the map, and of those that test it
DEV_LANGUAGE = "tr"  #: whose names help to choose the map, and test nothing


@torch.no_grad()
def drawing_features(atlas: Atlas, style: str, side: int, *, mirrored: bool = False) -> Tensor:
    """The pooled features of all drawings of a style, or of their mirror images, [N, 1280]."""
    system, prepare = load(BACKBONE), ImagePreparation(side, mean=MEAN, std=STD, resize_mode="squash")
    pixels = atlas.pixels(style)
    pixels = np.ascontiguousarray(pixels[:, :, ::-1]) if mirrored else pixels
    return torch.cat(
        [
            system(Inputs(images=Images(pixels=prepare([Image.fromarray(one) for one in pixels[at : at + 32]])))).pooled
            for at in range(0, len(pixels), 32)
        ]
    )


class Whitening:
    """The centre of the names of training, and the power of their covariance by which they are stretched.

    Names of one kind lie close together in a few directions; stretching the others tells them apart. ZCA, so that other
    languages, which lose a mean of their own, need nothing else.
    """

    def __init__(self, texts: Tensor, power: float) -> None:
        rows = normalize(texts - texts.mean(0), dim=-1)
        values, vectors = torch.linalg.eigh(rows.T @ rows / len(rows))
        values = (values / values.mean()).clamp(min=1e-4)
        self.matrix = vectors @ torch.diag(values**-power) @ vectors.T

    def __call__(self, texts: Tensor, center: Tensor) -> Tensor:
        """Whitened texts of length one, [N, D]."""
        return normalize((texts - center) @ self.matrix, dim=-1)


class LinearMap:
    """Ridge regression from features to texts; the features' square roots are standardised.

    Every drawing is read as it is and in a mirror, in training as two examples and in tests as the sum of both.
    """

    def __init__(self, features: Sequence[Tensor], texts: Tensor, *, penalty: float) -> None:
        roots = torch.cat([view.clamp(min=0).sqrt() for view in features])
        self.mean, self.std = roots.mean(0), roots.std(0) + 1e-6
        inputs = (roots - self.mean) / self.std
        gram = inputs.T @ inputs + penalty * len(features) * torch.eye(roots.shape[1])
        self.matrix = torch.linalg.solve(gram, inputs.T @ texts.repeat(len(features), 1))

    def ranks(self, features: Sequence[Tensor], texts: Tensor) -> Tensor:
        """The rank of text i for picture i, [N]."""
        views = [normalize((one.clamp(min=0).sqrt() - self.mean) / self.std @ self.matrix, dim=-1) for one in features]
        scores = normalize(torch.stack(views).sum(0), dim=-1) @ texts.T
        return 1 + (scores > scores.diagonal()[:, None]).sum(1)


def recall(ranks: Tensor | NDArray[np.int64], at: int) -> float:
    """Recall, percent."""
    return 100 * float(np.mean(np.asarray(ranks) <= at))


def interval(ours: Tensor, theirs: NDArray[np.int64], at: int) -> str:
    """The difference of two recalls on the same pictures, with a 95 % bootstrap interval."""
    difference = (ours.numpy() <= at).astype(float) - (theirs <= at)
    draw = np.random.default_rng(0).integers(0, len(difference), (10_000, len(difference)))
    low, high = np.percentile(100 * difference[draw].mean(1), [2.5, 97.5])
    return f"{100 * difference.mean():+.1f} ({low:+.1f} to {high:+.1f})"


class Drawn:
    """Features, names and parts of all concepts of Atlas; what is not asked for is not computed."""

    def __init__(self, cache: Path | None, side: int) -> None:
        self.atlas = open_atlas()
        self.folder, self.side = cache, side
        self.made: dict[str, Tensor] = {}
        self.train = {style: self.part(style, "train") for style in STYLES}

    @cached_property
    def vectors(self) -> dict[str, Tensor]:
        """Names by language."""
        return name_vectors(self.atlas, MULTILINGUAL, self.folder)

    @cached_property
    def centers(self) -> dict[str, Tensor]:
        """The means of the names of training by language."""
        return {language: said[self.train[STYLES[0]]].mean(0) for language, said in self.vectors.items()}

    def features(self, style: str, *, mirrored: bool) -> Tensor:
        """Of all drawings of a style, or of their mirror images, [N, 1280]."""
        name = f"{BACKBONE}-{self.side}-{style}{'-mirrored' if mirrored else ''}"
        if name not in self.made:
            make = partial(drawing_features, self.atlas, style, self.side, mirrored=mirrored)
            self.made[name] = kept(self.folder, name, make)
        return self.made[name]

    def part(self, style: str, part: str) -> list[int]:
        """Concepts of a part that are drawn in a style, by number."""
        place = self.atlas.place(style)
        return [at for at, one in enumerate(self.atlas.concepts) if one.code in place and side_of(one) == part]

    def shown(self, style: str, concepts: Sequence[int]) -> list[Tensor]:
        """Features of both views of concepts, each [N, 1280]."""
        place = self.atlas.place(style)
        rows = [place[self.atlas.concepts[one].code] for one in concepts]
        return [self.features(style, mirrored=mirrored)[rows] for mirrored in (False, True)]

    def whitening(self, power: float) -> Whitening:
        """Of the English names of training."""
        return Whitening(self.vectors["en"][self.train[STYLES[0]]], power)

    def named(self, whitening: Whitening, language: str, concepts: Sequence[int]) -> Tensor:
        """Whitened names of concepts, [N, D]."""
        return whitening(self.vectors[language][concepts], self.centers[language])

    def fitted(self, whitening: Whitening, penalty: float, styles: Sequence[str] = STYLES) -> LinearMap:
        """The map that is trained on some styles."""
        concepts = [one for style in styles for one in self.train[style]]
        views = zip(*(self.shown(style, self.train[style]) for style in styles), strict=True)
        share = len(styles) / len(STYLES)
        return LinearMap(
            [torch.cat(view) for view in views], self.named(whitening, "en", concepts), penalty=share * penalty
        )

    def ranks(self, mapped: LinearMap, whitening: Whitening, style: str, language: str, some: Sequence[int]) -> Tensor:
        """The rank of the name of each concept for its drawing, [N]."""
        return mapped.ranks(self.shown(style, some), self.named(whitening, language, some))

    def chosen(self) -> tuple[float, float]:
        """The power and the penalty that do best on what no test asks.

        The mean of recall at 1 in a style that is left out of training in turn, of recall at 10 of dev concepts, and of
        recall at 10 of names in a language that is kept for this.
        """
        first, second = STYLES
        dev = self.part(first, "dev")

        def score(power: float, penalty: float) -> float:
            whitening = self.whitening(power)
            mapped = self.fitted(whitening, penalty)
            left_out = [
                recall(
                    self.ranks(self.fitted(whitening, penalty, (one,)), whitening, other, "en", self.train[other]), 1
                )
                for one, other in ((first, second), (second, first))
            ]
            concepts = recall(self.ranks(mapped, whitening, first, "en", dev), 10)
            spoken = recall(self.ranks(mapped, whitening, first, DEV_LANGUAGE, self.train[first]), 10)
            print(
                f"power {power}, penalty {penalty}: style left out {statistics.mean(left_out):.1f}, dev concepts "
                f"{concepts:.1f}, {DEV_LANGUAGE} {spoken:.1f}"
            )
            return statistics.mean(left_out) + concepts + spoken

        return max(itertools.product(POWERS, PENALTIES), key=lambda one: score(*one))


def linear_map(cache: Path | None, *, side: int) -> None:
    """Train on English names of two styles; print recalls of every split with their controls."""
    of = Drawn(cache, side)
    power, penalty = of.chosen()
    whitening = of.whitening(power)
    mapped = of.fitted(whitening, penalty)
    first = STYLES[0]
    print(f"{len(of.train[first])} concepts in {len(STYLES)} styles, English names; power {power}, penalty {penalty}")
    print("concepts   style        language  pool   R@1   R@10   chance R@1/R@10")
    for part in ("dev", "train", "concept", "subgroup"):
        for style in (first, UNSEEN):
            report(part, style, "en", of.ranks(mapped, whitening, style, "en", of.part(style, part)))
    some = of.part(UNSEEN, "train")
    control = pixel_ranks(of.atlas, Side(tuple(some), UNSEEN, ("en",)), STYLES)
    print(f"train      {UNSEEN:12} pixel nearest: R@1 {recall(control, 1):.1f}, R@10 {recall(control, 10):.1f}")
    ours = of.ranks(mapped, whitening, UNSEEN, "en", some)
    print(f"map minus pixel nearest: R@1 {interval(ours, control, 1)}, R@10 {interval(ours, control, 10)}")
    for part in ("train", "concept"):
        for language in LANGUAGES[1:]:
            some = [one for one in of.part(first, part) if not _spelt_alike(of.atlas, language, one)]
            report(part, first, language, of.ranks(mapped, whitening, first, language, some))
            texts = of.named(whitening, language, some) @ to_english(of, whitening, language)
            parallel = mapped.ranks(of.shown(first, some), normalize(texts, dim=-1))
            report(part, first, f"{language} by parallel names", parallel)


def nearest_drawing(encoders: Sequence[str], cache: Path | None, *, side: int) -> None:
    """Print what the nearest trained drawing names in the unseen style: by pixels, and by the features of encoders.

    Features are of length 1 and centred, as an image teacher gives them to towers. Those of the backbone are the first;
    no tower that learns them from drawings of training can be expected to find more.

    Args:
        encoders: more of them: runs, saved folders, whatever an image teacher reads.
        cache: keeps the features of the backbone.
        side: of its pictures, in pixels.
    """
    of = Drawn(cache, side)
    some = of.part(UNSEEN, "train")
    control = pixel_ranks(of.atlas, Side(tuple(some), UNSEEN, ("en",)), STYLES)
    print(f"{len(some)} trained concepts in {UNSEEN}, the nearest drawing in {' or '.join(STYLES)}: R@1, R@10")
    print(f"{recall(control, 1):5.1f}  {recall(control, 10):5.1f}  pixels")

    def report_nearest(name: str, features: Callable[[str], Tensor]) -> None:
        read = {style: normalize(features(style), dim=-1) for style in (UNSEEN, *STYLES)}
        rows = {style: dict(zip(of.atlas.drawn[style], one, strict=True)) for style, one in read.items()}
        codes = [of.atlas.concepts[one].code for one in some]
        trained = [rows[style][of.atlas.concepts[one].code] for style in STYLES for one in of.train[style]]
        centre = torch.stack(trained).mean(0)
        asked, *known = (
            normalize(torch.stack([rows[style][code] for code in codes]) - centre, dim=-1)
            for style in (UNSEEN, *STYLES)
        )
        scores = torch.stack([asked @ one.T for one in known]).amax(0)
        ranks = (scores >= scores.diagonal()[:, None]).sum(1)
        over = f"minus pixels {interval(ranks, control, 1)} and {interval(ranks, control, 10)}"
        print(f"{recall(ranks, 1):5.1f}  {recall(ranks, 10):5.1f}  {name}, {over}")

    report_nearest(f"{BACKBONE} at {side} pixels", lambda style: of.features(style, mirrored=False))
    for encoder in encoders:
        report_nearest(encoder, partial(_features, ImageTeacher(encoder), of.atlas))


def _features(encoder: ImageTeacher, atlas: Atlas, style: str) -> Tensor:
    return encoder.features([Image.fromarray(pixels) for pixels in atlas.pixels(style)])


def to_english(of: Drawn, whitening: Whitening, language: str) -> Tensor:
    """Ridge regression from names in a language to English ones, of training concepts and without a picture, [D, D]."""
    some = [one for one in of.train[STYLES[0]] if of.atlas.names[language][one]]
    rows, english = of.named(whitening, language, some), of.named(whitening, "en", some)
    return torch.linalg.solve(rows.T @ rows + TEXT_PENALTY * torch.eye(rows.shape[1]), rows.T @ english)


def _spelt_alike(atlas: Atlas, language: str, concept: int) -> bool:
    """Whether a name says nothing about its language: it is missing, or the English one."""
    ours, english = (atlas.names[code][concept].casefold() for code in (language, "en"))
    return not ours or ours == english


def report(part: str, style: str, language: str, ranks: Tensor) -> None:
    """Print the recalls of one part in one language."""
    pool = len(ranks)
    print(
        f"{part:10} {style:12} {language:8} {pool:5}  {recall(ranks, 1):5.1f}  {recall(ranks, 10):5.1f}   "
        f"{100 / pool:.2f}/{1000 / pool:.1f}"
    )
