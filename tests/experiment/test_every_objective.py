"""Every objective that a recipe names can be trained from an experiment file on some data."""

from __future__ import annotations

import inspect
import json
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import mm_kptm
from mm_kptm import config
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built, build
from mm_kptm.experiment.run import train
from mm_kptm.experiment.settings import Experiment
from mm_kptm.knowledge.graph.wordnet import FILES
from mm_kptm.objectives.spec import specs
from mm_kptm.systems.recipe import Recipe
from mm_kptm.train.activation_checkpointing import checkpointed_activations
from mm_kptm.train.protocol import module_of
from tests.small_towers import SIZES
from tests.stores import write_regions

SENTENCES = [
    ["The horse saw a guitar .", "Rome is a city .", "A mare saw the horse ."],
    ["The guitar is a good instrument .", "Paris saw the horse .", "The mare saw a bad city ."],
    ["Anna is in Rome .", "Anna saw Paris ."],
]
GERMAN = ["das Pferd sah Rom .", "Paris ist eine Stadt .", "Anna sah das Pferd ."]
FRENCH = ["le cheval vit Rome .", "Paris est une ville .", "Anna vit le cheval ."]
NOUNS = """00000001 05 n 02 horse 0 mare 0 001 @ 00000003 n 0000 | runs
00000002 06 n 01 guitar 0 001 @ 00000004 n 0000 | sounds
00000003 05 n 01 animal 0 000 | lives
00000004 06 n 01 instrument 0 000 | is played
"""
TINY: dict[str, Any] = {
    "dim": 8,
    "num_heads": 2,
    "num_layers": 2,
    "num_region_layers": 1,
    "num_cross_layers": 1,
    "ffn_dim": 12,
    "max_positions": 48,
    "entity_heads": 2,
    "entity_ffn_dim": 6,
    "num_ngram_layers": 1,
    "adapter_dim": 6,
    "adapter_heads": 2,
    "adapter_ffn_dim": 10,
}
BASE = {"num_entities": 9, "entity_dim": 4, "span_ffn_dim": 5, "read_ffn_dim": 6}
BASES = {"wiki": BASE, "wordnet": {**BASE, "raw_dim": 3}}
RECIPES = list(mm_kptm.catalogue().values())
NAMED = [(recipe, objective) for recipe in RECIPES for objective in recipe.objectives]


def write(folder: Path, name: str, lines: list[Any]) -> Path:
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(line if isinstance(line, str) else json.dumps(line) for line in lines) + "\n")
    return path


def knowledge(folder: Path) -> dict[str, Any]:
    """Everything that may lie beside documents."""
    write(folder, "vectors/entity2id.txt", ["2", "Q1\t0", "Q2\t1"])
    write(folder, "vectors/entity2vec.vec", ["1\t0\t0\t1", "0\t1\t1\t0"])
    link = {"surface": "Rome", "candidates": [{"entity": "Q1", "score": 0.9}], "entity": "Q1"}
    text = {"id": "1", "text": "Rome is a city .", "language": "en", "mentions": [{"start": 0, "end": 4, **link}]}
    return {
        "linked": write(folder, "linked.jsonl", [text, {**text, "id": "2"}]),
        "entities": folder / "vectors",
        "triples": write(folder, "triples.tsv", ["Rome\tin\tItaly", "Paris\tnear\tItaly"]),
        "descriptions": write(folder, "described.tsv", ["Rome\ta city", "Italy\tRome is in it", "Paris\tanother city"]),
    }


def documents(folder: Path) -> dict[str, Any]:
    text = [line for document in SENTENCES for line in [*document, ""]]
    for name in FILES:
        write(folder, f"wordnet/data.{name}", [NOUNS]).write_text(NOUNS if name == "noun" else "")
    words = dict.fromkeys(" ".join(text).lower().split())
    pairs = ["he left\tshe saw it\tbut", "Rome is\tParis is\tand"]
    return {
        "name": "documents",
        "train": write(folder, "documents.txt", text),
        "max_length": 16,
        "wordnet": folder / "wordnet",
        "vectors": write(folder, "words.vec", [f"{word} {at % 3} {at % 2} 1" for at, word in enumerate(words)]),
        "similar": write(folder, "similar.tsv", ["rome\tparis"]),
        "pairs": {name: write(folder, f"{name}.tsv", pairs) for name in ("discourse-relation", "ir-relevance")},
        "knowledge": knowledge(folder),
    }


def pictures(folder: Path) -> dict[str, Any]:
    rng = np.random.default_rng(0)
    boxes = np.tile([0.0, 0.0, 1.0, 1.0], (3, 1))
    write_regions(folder / "regions", [(image, rng.random((3, 8)), boxes) for image in ("beach", "desk")])
    columns = {
        "class_probs": rng.dirichlet(np.ones(5), 6).astype("<f2"),
        "object_ids": rng.integers(0, 4, 6).astype("<i4"),
        "object_confidences": rng.random(6).astype("<f4"),
        "attribute_ids": rng.integers(0, 3, 6).astype("<i4"),
        "attribute_confidences": rng.random(6).astype("<f4"),
        "object_names": np.array([0, 1, 0, 1, 1, 1], "<i4"),
    }
    for name, column in columns.items():
        np.save(folder / "regions" / f"{name}.npy", column)
    write(folder, "regions/names.json", [["horse", "guitar"]])
    captions = [
        {"image": "beach", "captions": ["A horse .", "The mare ."]},
        {"image": "desk", "captions": ["A guitar ."]},
    ]
    said = {"caption": "A horse .", "translation": "Das Pferd .", "languages": ["en", "de"], "alignment": "0-0 1-1"}
    translated = [{"image": image, **said} for image in ("beach", "desk")]
    questions = [
        {"image": "beach", "question": "is it a horse ?", "answers": ["yes"]},
        {"image": "desk", "question": "is it Rome ?", "answers": ["no"]},
    ]
    return {
        "name": "image-text-pairs",
        "train": write(folder, "captions.jsonl", captions),
        "questions": write(folder, "questions.jsonl", questions),
        "features": folder / "regions",
        "translated": write(folder, "translated.jsonl", translated),
        "class_names": write(folder, "classes.txt", ["horse", "guitar", "city", "mare"]),
        "num_objects": 4,
        "num_attributes": 3,
    }


def photographs(folder: Path) -> dict[str, Any]:
    """Image files with captions."""
    rng = np.random.default_rng(0)
    (folder / "photographs").mkdir()
    for name in ("beach", "desk", "road"):
        pixels = rng.integers(0, 255, (20, 24, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(folder / "photographs" / f"{name}.png")
    captions = [
        {"image": "beach.png", "captions": ["A horse .", "The mare ."]},
        {"image": "desk.png", "captions": ["A guitar ."]},
        {"image": "road.png", "captions": ["Rome is a city ."]},
    ]
    return {
        "name": "captioned-images",
        "train": write(folder, "photographs.jsonl", captions),
        "pictures": folder / "photographs",
        "image_size": 16,
        "max_length": 16,
    }


def languages(folder: Path) -> dict[str, Any]:
    english = [sentence for document in SENTENCES for sentence in document]
    write(folder, "news.en", english)
    for language, lines in {"de": GERMAN, "en": english[:3], "fr": FRENCH}.items():
        write(folder, f"ted.{language}", list(lines))
    train = {"en": folder / "news", "de-en-fr": folder / "ted"}
    return {"name": "multilingual-text", "train": train, "language_sampling": 0.7}


def annotated(folder: Path) -> Iterator[dict[str, Any]]:
    """Data that one objective alone reads."""
    mention = {"span": [0, 4], "entity": "Q1"}
    linked = [{"text": "Rome is a city .", "mentions": [mention]}] * 2
    entities = write(folder, "entities.tsv", ["Q1\tcity\tRome", "Q2\tcity\tParis"])
    yield {
        "name": "linked-texts",
        "train": write(folder, "mentions.jsonl", linked),
        "entities": entities,
        "versions": 2,
    }
    described = ["Q1\ten\ta city", "Q1\tde\teine Stadt", "Q2\ten\tanother city"]
    yield {
        "name": "entity-descriptions",
        "train": folder / "mentions.jsonl",
        "descriptions": write(folder, "many-described.tsv", described),
        "triples": write(folder, "described-triples.tsv", ["Q1\tnear\tQ2", "Q2\tnear\tQ1"]),
    }
    tagged = [{"words": ["a", "good", "guitar"], "tags": ["DT", "JJ", "NN"], "grade": 4}] * 2
    senti = write(folder, "senti.txt", ["a\t1\t0.75\t0\tgood#1\tof quality"])
    yield {"name": "sentiment-tagged", "train": write(folder, "tagged.jsonl", tagged), "sentiwordnet": senti}
    graph = {
        "nodes": [2, 9, 8, 3, "Q1", "Q2", "P1"],
        "soft_position": [0, 1, 2, 3, 4, 6, 5],
        "token_type_ids": [0, 0, 0, 0, 1, 1, 2],
    }
    sees = [[1] * 5 + [0, 0]] * 4 + [[1] * 5 + [0, 1], [0] * 5 + [1, 1], [0] * 4 + [1, 1, 1]]
    yield {"name": "word-graphs", "train": write(folder, "graphs.jsonl", [{**graph, "adj": sees}] * 2)}
    related = [
        {"text": "Anna is in Rome .", "head": [0, 4], "tail": [11, 15], "relation": "in"},
        {"text": "Anna saw Paris .", "head": [0, 4], "tail": [9, 14], "relation": "saw"},
    ]
    yield {"name": "marked-relations", "train": write(folder, "relations.jsonl", related)}
    parse = [("1", "Anna", "2"), ("2", "saw", "0"), ("3", "Paris", "2")]
    rows = ["\t".join([at, word, *"____", head, *"___"]) for at, word, head in parse]
    yield {"name": "dependency-trees", "train": write(folder, "trees.conllu", [*rows, "", *rows])}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> list[dict[str, Any]]:
    """Settings of one data set of each kind, all with one vocabulary."""
    folder = tmp_path_factory.mktemp("data")
    text = [
        *GERMAN,
        *FRENCH,
        *(line for document in SENTENCES for line in document),
        "he left she it @ # ? in another yes",
    ]
    vocabulary = write(folder, "vocab.txt", [*BERT_SPECIALS, *dict.fromkeys(" ".join(text).lower().split())])
    shown = pictures(folder)
    paired = {name: value for name, value in shown.items() if name != "questions"} | {"caption_pairs": True}
    found = [documents(folder), shown, {**shown, "tags": True}, languages(folder), *annotated(folder)]
    found += [photographs(folder), paired]
    return [{**settings, "vocabulary": vocabulary} for settings in found]


def plain(value: Any) -> Any:
    """As JSON, which YAML reads, has it."""
    return (
        {key: plain(one) for key, one in value.items()}
        if isinstance(value, dict)
        else json.loads(json.dumps(value, default=str))
    )


def written(recipe: Recipe, objectives: list[str], data: dict[str, Any], folder: Path, **more: Any) -> Experiment:
    """An experiment out of a file."""
    takes = inspect.signature(recipe.build).parameters
    sizes = {name: size for name, size in TINY.items() if name in takes}
    sizes |= SIZES.get(recipe.family, {})
    if "bases" in takes:
        sizes["bases"] = {name: BASES[name] for name in recipe.sizes.get("bases", BASES)}
    settings = {
        "name": "step",
        "encoder": {"recipe": recipe.name, "sizes": sizes},
        "data": data,
        "objectives": dict.fromkeys(objectives, 1.0),
        "train": {"steps": 1, "batch_size": 2},
        "out": folder,
        **more,
    }
    path = folder / "experiment.yaml"
    path.write_text(json.dumps(plain(settings)))
    return config.read(Experiment, path)


def fed(
    recipe: Recipe, objectives: tuple[str, ...], data: list[dict[str, Any]], folder: Path, **more: Any
) -> tuple[Experiment, Built]:
    """The experiment on the first data that have what the objectives need."""
    refused = []
    for settings in data:
        experiment = written(recipe, list(objectives), settings, folder, **more)
        try:
            return experiment, build(experiment)
        except UserError as error:
            assert "does not have" in str(error), error
            refused.append(str(error))
    raise AssertionError("\n".join(refused))


@pytest.mark.parametrize(("recipe", "objective"), NAMED, ids=lambda one: getattr(one, "name", one))
def test_an_objective_that_a_recipe_names_takes_a_step_from_a_file(
    recipe: Recipe, objective: str, data: list[dict[str, Any]], tmp_path: Path
) -> None:
    experiment, built = fed(recipe, (objective,), data, tmp_path)
    batch = built.training.batch(range(len(built.training)), torch.Generator().manual_seed(0))
    module_of(built.model).train()
    built.model.loss(batch)  # queues of negatives begin empty
    loss = built.model.loss(batch)
    loss.backward()
    assert torch.isfinite(loss)
    assert any(one.grad is not None and bool(one.grad.abs().sum() > 0) for one in built.system.parameters())
    train(experiment, tmp_path / "run", progress=False)
    assert (tmp_path / "run" / "model").is_dir()


@pytest.mark.parametrize(
    "recipe", [recipe for recipe in RECIPES if len(recipe.objectives) > 1], ids=lambda one: one.name
)
def test_the_objectives_of_a_recipe_are_trained_together_and_one_after_the_other(
    recipe: Recipe, data: list[dict[str, Any]], tmp_path: Path
) -> None:
    names = recipe.objectives
    experiment, built = fed(recipe, names, data, tmp_path)
    assert set(built.training.batch(range(2), torch.Generator().manual_seed(0)).by_name) == set(names)
    train(experiment, tmp_path / "mixture", progress=False)
    steps = {"steps": len(names), "batch_size": 2}
    stages = {name: [1] for name in names}
    staged, _ = fed(recipe, names, data, tmp_path, stages=stages, train=steps)
    train(staged, tmp_path / "stages", progress=False)


#: By family; MultiFiT has no layers of attention, whose activations could be computed again.
FAMILIES = {recipe.family: (recipe, objective) for recipe, objective in reversed(NAMED) if recipe.family != "multifit"}


#: Backbones of timm have layers of their own.
LAYERED = sorted(family for family, (recipe, _) in FAMILIES.items() if recipe.reads != {"images"})


@pytest.mark.parametrize("family", LAYERED)
def test_activations_that_are_computed_again_give_the_same_gradients(
    family: str, data: list[dict[str, Any]], tmp_path: Path
) -> None:
    """In every system, whatever its layers are; with dropout, whose random state must be restored."""
    recipe, objective = FAMILIES[family]
    _, built = fed(recipe, (objective,), data, tmp_path)
    model = module_of(built.model)
    batch = built.training.batch(range(len(built.training)), torch.Generator().manual_seed(0))
    stored, gradients = [0, 0], []
    for again in (False, True):
        model.zero_grad()
        torch.manual_seed(0)
        with checkpointed_activations(model, enabled=again):
            with torch.autograd.graph.saved_tensors_hooks(partial(_store, stored, again), lambda one: one):
                loss = built.model.loss(batch)
            loss.backward()
        gradients.append({name: one.grad for name, one in model.named_parameters()})
    assert stored[1] < stored[0]
    for name, gradient in gradients[0].items():
        if gradient is not None:
            torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-5, atol=1e-7, msg=name)
        else:
            assert gradients[1][name] is None, name


def _store(stored: list[int], again: bool, tensor: torch.Tensor) -> torch.Tensor:
    stored[again] += tensor.nbytes
    return tensor


def test_sentences_are_ranked_by_an_encoder_that_was_not_published_with_it(
    data: list[dict[str, Any]], tmp_path: Path
) -> None:
    experiment, built = fed(mm_kptm.catalogue()["xlm-r-base"], ("translation-ranking",), data, tmp_path)
    assert built.model.loss(built.training.batch([0, 1], torch.Generator())) > 0
    train(experiment, tmp_path / "run", progress=False)


#: Objectives on several languages, and a recipe that can be trained by each.
CROSS_LINGUAL = {
    "masked-tokens": "xlm-15",
    "translation-language-modeling": "xlm-15",
    "xlco": "xlm-15",
    "word-alignment": "xlm-15",
    "word-recovery": "xlm-15",
    "paraphrase-classification": "xlm-15",
    "cross-lingual-masked-tokens": "xlm-15",
    "cross-attention-masked-tokens": "xlm-15",
    "back-translated-masked-tokens": "xlm-15",
    "translation-ranking": "xlm-15",
    "entity-definition": "xlm-k-base",
    "object-entailment": "xlm-k-base",
}


@pytest.mark.parametrize(("objective", "recipe"), CROSS_LINGUAL.items())
def test_objectives_on_languages_stand_beside_a_task_with_data_of_their_own(
    objective: str, recipe: str, data: list[dict[str, Any]], tmp_path: Path
) -> None:
    spoken = {"languages": ["de", "en", "fr"]} if recipe == "xlm-15" else {}
    texts = [{"text": "Rome is a city .", "label": "place"}, {"text": "Anna saw Paris .", "label": "person"}]
    train_file = write(tmp_path, "own.jsonl", texts)
    own = {"name": "custom-text", "train": train_file, "vocabulary": data[0]["vocabulary"], **spoken}
    needed = "entity-descriptions" if recipe == "xlm-k-base" else "multilingual-text"
    others = {**next(one for one in data if one["name"] == needed), **spoken}
    experiment = written(
        mm_kptm.catalogue()[recipe],
        [objective],
        own,
        tmp_path,
        task="sentence-classification",
        objective_data=others,
    )
    built = build(experiment)
    module_of(built.model).train()
    batch = built.training.batch([0, 1], torch.Generator().manual_seed(0))
    built.model.loss(batch)
    both = built.model.loss(batch)
    assert built.task is not None and torch.isfinite(both)
    assert list(batch.batches.by_name) == [objective] and len(batch.batches) == 2
    train(experiment, tmp_path / "beside", progress=False)


def test_data_of_objectives_are_those_of_the_encoder_too(data: list[dict[str, Any]], tmp_path: Path) -> None:
    lines = [{"text": "Rome is a city .", "label": "place"}, {"text": "Anna saw Paris .", "label": "person"}]
    own = {"name": "custom-text", "train": write(tmp_path, "own.jsonl", lines), "vocabulary": data[0]["vocabulary"]}
    spoken = {**next(one for one in data if one["name"] == "multilingual-text")}
    spoken["vocabulary"] = write(tmp_path, "other.txt", [*BERT_SPECIALS, "Rome"])
    bert = mm_kptm.catalogue()["bert-base"]
    with pytest.raises(UserError, match=r"but data have \d+ pieces in the vocabulary and objective_data 6; give both"):
        build(written(bert, ["xlco"], own, tmp_path, task="sentence-classification", objective_data=spoken))
    with pytest.raises(UserError, match="objective_data are the data of objectives beside a task"):
        written(bert, ["xlco"], spoken, tmp_path, objective_data=spoken)


def test_arguments_of_objectives_are_set_in_the_file(data: list[dict[str, Any]], tmp_path: Path) -> None:
    recipe = mm_kptm.catalogue()["infoxlm-base"]
    chosen = {"xlco": {"queue_size": 7, "momentum": 0.5, "mixup": False}}
    _, built = fed(recipe, ("xlco",), data, tmp_path, objective_arguments=chosen)
    assert len(built.system.head("xlco").queue) == 7
    found = built.model.objectives["xlco"]  # type: ignore[attr-defined]
    assert (found.momentum, found.mixup) == (0.5, False)
    with pytest.raises(UserError, match=r"^xlco has no argument 'queue'; did you mean queue_size\?$"):
        build(written(recipe, ["xlco"], data[3], tmp_path, objective_arguments={"xlco": {"queue": 7}}))
    with pytest.raises(UserError, match=r"^there are arguments of xlco, which is not among the objectives masked"):
        build(written(recipe, ["masked-tokens"], data[3], tmp_path, objective_arguments=chosen))
    with pytest.raises(UserError, match=r"^denoising needs a system that reads target, which infoxlm-base does not$"):
        build(written(recipe, ["denoising"], data[3], tmp_path))


def test_objectives_stand_beside_a_task_on_the_texts_of_the_user(data: list[dict[str, Any]], tmp_path: Path) -> None:
    lines = [{"text": "Rome is a city .", "label": "place"}, {"text": "Anna saw Paris .", "label": "person"}]
    own = {"name": "custom-text", "train": write(tmp_path, "own.jsonl", lines), "vocabulary": data[0]["vocabulary"]}
    bert = mm_kptm.catalogue()["bert-base"]
    experiment = written(bert, ["masked-tokens"], own, tmp_path, task="sentence-classification")
    alone = written(bert, [], own, tmp_path, task="sentence-classification")
    losses = []
    for settings in (experiment, alone):
        built = build(settings)
        losses.append(float(built.model.eval().loss(built.training.batch([0, 1], torch.Generator().manual_seed(3)))))
    assert losses[0] > losses[1] + 1, "the loss of hidden tokens is added"
    train(experiment, tmp_path / "beside", progress=False)
    with pytest.raises(
        UserError,
        match=r"^next-sentence needs documents of several sentences, which the data set custom-text of "
        r"sentence-classification does not have; pretrain in a run without a task, and let encoder\.weights",
    ):
        build(written(bert, ["next-sentence"], own, tmp_path, task="sentence-classification"))


@pytest.mark.parametrize(
    ("recipe", "objective", "data_name", "lacking"),
    [
        ("bert-base", "entity-denoising", "documents", "entity vectors linked in texts"),
        ("kepler-base", "knowledge-embedding", "documents", "triples between described entities"),
        ("uniter-base", "masked-region-classes", "image-text-pairs", "class distributions of image regions"),
        ("lxmert-base", "question-answering", "image-text-pairs", "answers to questions about images"),
        ("xlm-17", "translation-language-modeling", "multilingual-text", "sentences beside their translations"),
        ("bert-base", "image-text-matching", "documents", "image regions"),
        ("oscar-base", "tag-contrast", "image-text-pairs", "names of the objects of every image behind its texts"),
        ("xlm-15", "masked-tokens", "documents", "the language of every token"),
    ],
)
def test_data_that_lack_what_an_objective_needs_are_refused_in_a_sentence(
    recipe: str, objective: str, data_name: str, lacking: str, data: list[dict[str, Any]], tmp_path: Path
) -> None:
    settings = next(dict(one) for one in data if one["name"] == data_name)
    settings.pop("knowledge", None)
    settings.pop("questions", None)
    if data_name == "multilingual-text":
        settings["train"] = {"en": settings["train"]["en"]}
    if data_name == "image-text-pairs":
        settings["features"] = shutil.copytree(settings["features"], tmp_path / "regions")
        (tmp_path / "regions" / "class_probs.npy").unlink()
    with pytest.raises(UserError) as raised:
        build(written(mm_kptm.catalogue()[recipe], [objective], settings, tmp_path))
    assert str(raised.value).startswith(f"{objective} needs {lacking}, which the data set {data_name} does not have; ")
    assert "\n" not in str(raised.value) and ". " not in str(raised.value)


SILENT = {
    "k-adapter-large": "its adapters are pretrained one by one",
    "filter": "fine-tuned from XLM-R",
    "dual-bert": "fine-tuned from BERT",
    "multifit-bidirectional": "the average of two models that are pretrained each by itself",
    "laser": "trained by a decoder that was not released",
    "efficientnet-lite0": "trained on the classes of ImageNet",
}


def test_every_recipe_names_its_published_pretraining() -> None:
    assert {recipe.name for recipe in RECIPES if not recipe.objectives} == SILENT.keys()
    assert {objective for _, objective in NAMED} <= specs().keys()
