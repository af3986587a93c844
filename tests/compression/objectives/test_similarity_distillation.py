"""Two towers take over a teacher's affinities among the texts of a batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.compression.objectives.similarity_distillation import SimilarityDistillation
from mm_kptm.compression.text_teacher import TextTeacher
from mm_kptm.data.sampler import seeded
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.run import train
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.suites.atlas.datasets.retrieval import training_names
from mm_kptm.suites.atlas.datasets.settings import AtlasData
from mm_kptm.train.settings import TrainSettings
from tests.compression.affinity_checks import assert_divergence, assert_evaluated_without, assert_resumes

NAME = SimilarityDistillation.name
WORDS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "red", "green", "apple", "dog", "a"]
DATA = AtlasData(languages=("en",), parallel_languages=("de",), image_size=16)
ENCODER = EncoderSettings(
    "dual-tower",
    sizes={
        "embed_dim": 16,
        "image": {"patch_size": 8, "width": 16, "layers": 1, "head_width": 8},
        "text": {"recipe": "bert-base", "pooling": "mean", "num_layers": 1, "dim": 16, "num_heads": 2, "ffn_dim": 16},
    },
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A text encoder with a vocabulary, as published."""
    folder = tmp_path_factory.mktemp("teacher")
    sizes = {"dim": 16, "num_layers": 1, "num_heads": 2, "ffn_dim": 16, "max_positions": 40}
    system = mm_kptm.build("bert-base", seed=0, vocab_size=len(WORDS), **sizes)
    with torch.no_grad():
        system.encoder.get_parameter("embed.text.word.weight").mul_(50)  # texts differ clearly
    mm_kptm.save(system, folder)
    (folder / "vocab.txt").write_text("\n".join(WORDS) + "\n")
    return folder


def experiment(teacher: Path | str, **train_settings: object) -> Experiment:
    return Experiment(
        name="taught",
        task="contrastive-retrieval",
        data=DATA,
        encoder=ENCODER,
        objectives={NAME: 1.0},
        objective_arguments={NAME: {"teacher": str(teacher), "prefix": "a "}},
        train=TrainSettings(steps=2, batch_size=8, **train_settings),
    )


def test_vectors_are_centred_of_length_one_and_those_of_the_encoder(teacher: Path) -> None:
    texts = ["red apple", "green apple", "a dog", "red apple"]
    found = TextTeacher(str(teacher), prefix="a ").vectors(texts, batch_size=2)
    system = mm_kptm.load(str(teacher))
    pooled = torch.cat([system(system.tokenizer([f"a {text}"])).pooled for text in texts])
    expected = torch.nn.functional.normalize(pooled, dim=-1)
    expected = torch.nn.functional.normalize(expected - expected.mean(0), dim=-1)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    assert not found.requires_grad


def test_the_loss_is_the_divergence_over_the_other_texts(teacher: Path) -> None:
    texts = ["red apple", "green apple", "a dog", "dog"]
    objective = SimilarityDistillation(lambda: texts, TextTeacher(str(teacher)), temperature=0.2)
    assert objective.side(torch.zeros(1), torch.ones(1)).item() == 1, "texts"
    assert_divergence(objective, lambda: TextTeacher(str(teacher)).vectors(texts))


def test_towers_that_have_the_affinities_of_the_teacher_have_no_loss(teacher: Path) -> None:
    texts = ["red apple", "green apple", "a dog"]
    objective = SimilarityDistillation(lambda: texts, TextTeacher(str(teacher)))
    taught = TextTeacher(str(teacher)).vectors(texts)
    assert torch.equal(objective._near(taught, taught), objective._near(taught, taught))
    apart = objective._near(taught, taught).exp()
    torch.testing.assert_close(apart.sum(-1), torch.ones(3))


def test_a_run_learns_from_it_and_is_evaluated_without(teacher: Path, tmp_path: Path) -> None:
    settings = experiment(teacher)
    built = train(settings, tmp_path / "run", progress=False)
    objective = built.model.objectives[NAME]
    names = [name for _, language, name in training_names(DATA) if language == "en"]
    torch.testing.assert_close(objective._vectors, TextTeacher(str(teacher), prefix="a ").vectors(names))
    batch = built.source("train").batch([3, 5], seeded(0, 0))
    said = [
        (training_names(DATA)[number][0], one.id)
        for number, one in zip(batch.inputs.labels[NAME].tolist(), batch.captions, strict=True)
    ]
    assert [f"{DATA.atlas.concepts[concept].code}-en" for concept, _ in said] == [id_ for _, id_ in said]
    assert_evaluated_without(settings, NAME, tmp_path / "run", tmp_path)


def test_a_resumed_run_is_the_run_that_was_not_stopped(teacher: Path, tmp_path: Path) -> None:
    assert_resumes(experiment(teacher), tmp_path)


def test_what_a_user_forgets_is_said(teacher: Path, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"^similarity-distillation learns from a teacher; name its weights in objecti"):
        build(replace(experiment(teacher), objective_arguments={}))
    (tmp_path / "published").mkdir()
    published = TextTeacher(str(tmp_path / "published"))
    with pytest.raises(UserError, match=r"holds published weights; name the recipe that reads them, too$"):
        published.load()
    bare = tmp_path / "bare"
    mm_kptm.save(mm_kptm.build("bert-base", seed=0, dim=8, num_layers=1, num_heads=2, ffn_dim=8, vocab_size=9), bare)
    with pytest.raises(UserError, match=r"bare has no tokenizer beside its weights, so it cannot read texts$"):
        TextTeacher(str(bare)).load()
    with pytest.raises(UserError, match=r"^similarity-distillation.temperature is 0 but must be greater than 0$"):
        SimilarityDistillation(list, TextTeacher(""), temperature=0)
    with pytest.raises(UserError, match=r"^similarity-distillation needs texts as they are written, which these inp"):
        SimilarityDistillation(list, TextTeacher("")).prepare(Inputs(text=Tokens.of([[0, 2]])), torch.Generator())
