"""Two towers take over a teacher's affinities among the pictures of a batch."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.compression import ImageTeacher
from mm_kptm.compression.objectives import ImageSimilarityDistillation, SimilarityDistillation
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.run import train
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.objectives.spec import TEXTS, ObjectiveContext, Offers, build_objectives
from mm_kptm.suites.atlas.datasets.settings import AtlasData
from mm_kptm.suites.atlas.datasets.splits import train_concepts
from mm_kptm.train.settings import TrainSettings
from mm_kptm.vision.contrastive.preparation import IMAGENET_MEAN, IMAGENET_STD
from mm_kptm.vision.objectives.image_text_contrast import IMAGES
from tests.compression.affinity_checks import assert_divergence, assert_evaluated_without, assert_resumes
from tests.compression.test_image_teacher import BACKBONE, drawn

NAME = ImageSimilarityDistillation.name
DATA = AtlasData(languages=("en",), parallel_languages=("de",), image_size=48)
ONE_STYLE = replace(DATA, styles=("noto",))
ENCODER = EncoderSettings(
    "dual-tower",
    sizes={
        "embed_dim": 16,
        "image": {"patch_size": 16, "width": 16, "layers": 1, "head_width": 8},
        "text": {"recipe": "bert-base", "pooling": "mean", "num_layers": 1, "dim": 16, "num_heads": 2, "ffn_dim": 16},
    },
)


@pytest.fixture(scope="module")
def teacher(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A backbone with random weights, saved."""
    folder = tmp_path_factory.mktemp("teacher")
    mm_kptm.save(mm_kptm.build("efficientnet-lite0", backbone=BACKBONE, heads=[], seed=0), folder)
    return folder


def experiment(teacher: Path | str, data: AtlasData = ONE_STYLE) -> Experiment:
    return Experiment(
        name="taught",
        task="contrastive-retrieval",
        data=data,
        encoder=ENCODER,
        objectives={NAME: 1.0},
        objective_arguments={NAME: {"teacher": str(teacher), "size": 16}},
        train=TrainSettings(steps=2, batch_size=8),
    )


def test_the_loss_is_the_divergence_over_the_other_pictures(teacher: Path) -> None:
    pictures, of = drawn(16, 16, count=4), ImageTeacher(str(teacher), size=16)
    objective = ImageSimilarityDistillation(lambda: pictures, of, temperature=0.2)
    assert objective.side(torch.zeros(1), torch.ones(1)).item() == 0, "images"
    assert_divergence(objective, lambda: of.vectors(pictures))


def test_batches_name_their_drawings_and_the_teacher_reads_those_of_training(teacher: Path) -> None:
    built = build(experiment(teacher, replace(DATA, augment=False)))
    pictures = built.model.objectives[NAME].pictures()
    places = [DATA.atlas.place(style) for style in DATA.styles]
    codes = [DATA.atlas.concepts[concept].code for concept in train_concepts(DATA)]
    assert len(pictures) == sum(code in place for place in places for code in codes)
    batch = built.source("train").batch(range(40), seeded(0, 0)).inputs
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in (IMAGENET_MEAN, IMAGENET_STD))
    numbers = batch.labels[NAME].tolist()
    for number, pixels in zip(numbers, batch.images.pixels, strict=True):
        stored = torch.from_numpy(np.array(pictures[number])).permute(2, 0, 1) / 255
        torch.testing.assert_close(pixels * std + mean, stored, atol=1e-5, rtol=0)
    first = sum(code in places[0] for code in codes)
    assert {number < first for number in numbers} == {True, False}, "both styles are drawn"


def test_a_run_learns_from_it_and_is_evaluated_without(teacher: Path, tmp_path: Path) -> None:
    settings = experiment(teacher)
    built = train(settings, tmp_path / "run", progress=False)
    objective = built.model.objectives[NAME]
    expected = ImageTeacher(str(teacher), size=16).vectors(objective.pictures())
    torch.testing.assert_close(objective._vectors, expected)
    untaught = build(replace(settings, objectives={}, objective_arguments={}))
    assert built.system.state_dict().keys() == untaught.system.state_dict().keys()
    assert_evaluated_without(settings, NAME, tmp_path / "run", tmp_path)


def test_a_resumed_run_is_the_run_that_was_not_stopped(teacher: Path, tmp_path: Path) -> None:
    assert_resumes(experiment(teacher), tmp_path)


def test_both_teachers_teach_one_run(teacher: Path, tmp_path: Path) -> None:
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "dog"]
    sizes = {"dim": 8, "num_layers": 1, "num_heads": 2, "ffn_dim": 8, "max_positions": 40}
    mm_kptm.save(mm_kptm.build("bert-base", seed=0, vocab_size=len(words), **sizes), tmp_path / "text")
    (tmp_path / "text" / "vocab.txt").write_text("\n".join(words))
    alone, texts = experiment(teacher), SimilarityDistillation.name
    both = replace(
        alone,
        objectives={texts: 0.5, NAME: 2.0},
        objective_arguments={**alone.objective_arguments, texts: {"teacher": str(tmp_path / "text")}},
    )
    built = train(both, tmp_path / "run", progress=False)
    assert {len(built.model.objectives[name]._vectors) for name in (texts, NAME)} == {1215}


def test_what_a_user_forgets_is_said(teacher: Path) -> None:
    with pytest.raises(
        UserError, match=rf"^{NAME} learns from a teacher; name its weights in objective_arguments.{NAME}"
    ):
        build(replace(experiment(teacher), objective_arguments={}))
    for size in (0, "large"):
        with pytest.raises(UserError, match=rf"^{NAME}.size is {size!r} but must be a number of pixels above 0$"):
            build(replace(experiment(teacher), objective_arguments={NAME: {"teacher": str(teacher), "size": size}}))
    with pytest.raises(UserError, match=rf"^{NAME} needs pictures as they are stored, which these inputs do not name$"):
        ImageSimilarityDistillation(list, ImageTeacher("")).prepare(Inputs(text=Tokens.of([[0, 2]])), torch.Generator())


def test_data_that_do_not_number_their_pictures_are_refused() -> None:
    offers = Offers("webdataset", {TEXTS: None, IMAGES: None}, remedy="take captioned-images")
    specials = Specials(pad=0, unknown=1, start=2, stop=3, mask=4)
    context = ObjectiveContext(specials, 9, offers, settings={NAME: {"teacher": "anything"}})
    message = (
        f"{NAME} needs pictures as they are stored, which the data set webdataset does not have; take captioned-images"
    )
    with pytest.raises(UserError, match=f"^{message}$"):
        build_objectives([NAME], context)
