"""Two stages find what all pairs find, say what they lose, and go on after a kill with the same bytes."""

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from mm_kptm.data.images.resizing import ImageResize
from mm_kptm.data.sampler import seeded
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import Built, build
from mm_kptm.experiment.run import evaluate, train
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.nn.backbones.backbone import ImageFormat
from mm_kptm.preprocessing.images import PictureFolder
from mm_kptm.preprocessing.inputs import RegionCrops
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.tasks.vision.first_stage import DualScorer
from mm_kptm.tasks.vision.ranking import Ranking, RankingSettings
from mm_kptm.tasks.vision.score_matrix import ScoreMatrix, images_key
from mm_kptm.train.settings import TrainSettings
from mm_kptm.vision.modules.pixels import PixelFormat

SMALL = {"num_layers": 1, "dim": 32, "num_heads": 2, "ffn_dim": 64, "dropout": 0.0}


def settings(recipe: str = "uniter-base", *, steps: int = 1, out: Path = Path("runs"), **data: object) -> Experiment:
    asked = {"questions": 40, "eval_questions": 24, "candidate_pool_size": 24, "languages": ("en",), **data}
    return Experiment(
        name="retrieval",
        task="retrieval",
        encoder=EncoderSettings(recipe, sizes=dict(SMALL), init_std=0.1),
        data=NumberWorldData(**asked),
        train=TrainSettings(seed=1, steps=steps, batch_size=8),
        out=out,
    )


@pytest.fixture(scope="module")
def trained() -> Built:
    """A cross-encoder and a first stage that learnt a little."""
    built = build(settings(rerank=5, rerank_sample=4))
    source = built.source("train")
    optimizer = torch.optim.AdamW(built.model.parameters(), lr=3e-3)
    for step in range(60):
        loss = built.model.loss(source.batch(range(step % 4 * 10, step % 4 * 10 + 10), seeded(0, step)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return built


def ranked(built: Built, **ranking: object) -> list:
    built.task.ranking = RankingSettings(**ranking)
    return built.task.predictions(built.source("dev"), batch_size=16)


def ranks(rows, way):
    return {row["id"]: row["rank"] for row in rows if row["type"] == way}


@pytest.mark.parametrize("way", ["text-to-image", "image-to-text"])
def test_candidates_are_in_the_order_of_the_cross_encoder(trained, way):
    """Whatever the first stage keeps has the rank that it has among all pairs, less those that were left behind."""
    whole, staged = ranks(ranked(trained), way), ranks(ranked(trained, rerank=8, sample=0), way)
    assert whole.keys() == staged.keys()
    source = trained.source("dev")
    dual = Ranking(trained.task, source, RankingSettings(rerank=8), 16).dual(np.arange(24), source.images)
    dual = dual if way == "text-to-image" else dual.T
    kept = dual.topk(8, dim=1).indices
    found = 0
    for row, (id_, rank) in enumerate(staged.items()):
        if row in kept[row].tolist():  # caption n is about image n
            assert rank <= min(whole[id_], 8)
            found += 1
        else:
            assert rank > 8 and rank == 1 + int((dual[row] > dual[row, row]).sum())
    assert found > 5


def test_all_candidates_are_all_pairs(trained):
    assert ranked(trained, rerank=24) == ranked(trained)


def test_what_the_first_stage_loses_is_measured_on_a_sample(trained):
    rows = ranked(trained, rerank=3, sample=6)
    whole = ranks(ranked(trained), "text-to-image")
    sampled = [row for row in rows if "full_rank" in row]
    assert len(sampled) == 6 and all(row["full_rank"] == whole[row["id"]] for row in sampled)
    found = trained.task.summary(rows)
    assert found["sampled-recall@1-of-all-pairs"] == sum(row["full_rank"] == 1 for row in sampled) / 6
    assert found["sampled-recall@10"] == sum(row["rank"] <= 10 for row in sampled) / 6
    assert "sampled-recall@1" not in trained.task.summary(ranked(trained, rerank=3, sample=0))


def test_the_contrast_leaves_other_captions_of_the_image_out():
    scorer = DualScorer.__new__(DualScorer)
    torch.nn.Module.__init__(scorer)
    scorer.log_scale = torch.nn.Parameter(torch.tensor(0.0))
    texts, images = torch.eye(3), torch.eye(3)
    apart = scorer.loss(texts, images, torch.eye(3, dtype=torch.bool))
    torch.testing.assert_close(apart, -torch.tensor([1.0, 0.0, 0.0]).log_softmax(0)[0])
    same = torch.tensor([[True, True, False], [True, True, False], [False, False, True]])
    left = scorer.loss(texts, images, same)
    two, three = (-torch.tensor([1.0] + [0.0] * n).log_softmax(0)[0] for n in (1, 2))
    torch.testing.assert_close(left, (2 * two + three) / 3)


def test_scores_that_were_interrupted_end_in_the_same_bytes(trained, tmp_path):
    whole = ranked(trained, scores=tmp_path / "whole", rerank=5, sample=3)
    calls = 0
    original = trained.task.forward

    def dying(inputs):
        nonlocal calls
        calls += 1
        if calls > 7:
            raise KeyboardInterrupt
        return original(inputs)

    trained.task.forward = dying
    try:
        with pytest.raises(KeyboardInterrupt):
            ranked(trained, scores=tmp_path / "killed", rerank=5, sample=3)
    finally:
        del trained.task.forward
    done = [int(np.load(path).sum()) for path in (tmp_path / "killed").glob("*.done.npy")]
    assert 0 < sum(done) < 51
    assert ranked(trained, scores=tmp_path / "killed", rerank=5, sample=3) == whole
    files = {path.name: path.read_bytes() for path in (tmp_path / "whole").iterdir()}
    assert files == {path.name: path.read_bytes() for path in (tmp_path / "killed").iterdir()} and len(files) == 9


def test_scores_belong_to_what_the_images_show(tmp_path):
    """Features that were made anew are scored anew, and so is a picture that was replaced."""
    boxes = np.array([[0, 0, 0.5, 1], [0.5, 0, 1, 1], [0, 0, 1, 1]], np.float32)
    crops = RegionCrops(np.arange(12, dtype=np.uint8).reshape(3, 4), boxes, np.array([0, 2, 3]))
    both = np.arange(2)
    same = replace(crops, pixels=crops.pixels.copy())
    assert images_key(crops, both) == images_key(same, both)
    others = [
        images_key(replace(crops, pixels=crops.pixels[:, ::-1]), both),
        images_key(replace(crops, boxes=boxes[:, [1, 0, 3, 2]]), both),
        images_key(replace(crops, offsets=np.array([0, 1, 3])), both),
        images_key(crops, both[:1]),
    ]
    assert len({images_key(crops, both), *others}) == 5
    for name, value in (("a.png", 10), ("b.png", 20)):
        Image.new("RGB", (8, 8), (value, 0, 0)).save(tmp_path / name)
    pixels = PixelFormat(ImageResize(8), ImageFormat(8, (0.0,), (1.0,)), lambda height, width: (1, 1), 3)
    before = images_key(PictureFolder(tmp_path, pixels), both)
    assert images_key(PictureFolder(tmp_path, pixels), both) == before
    Image.new("RGB", (8, 8), (30, 0, 0)).save(tmp_path / "b.png")
    assert images_key(PictureFolder(tmp_path, pixels), both) != before


KILLED = """
import os, signal, sys
import torch
from mm_kptm.tasks.vision.score_matrix import ScoreMatrix, images_key
matrix = ScoreMatrix(sys.argv[1], "key", 6, 4)
def score(row):
    if row == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    return torch.arange(4.0) + 10 * row
matrix.fill(score)
"""


def test_rows_survive_a_process_that_is_killed(tmp_path):
    root = Path(__file__).parents[3]
    environment = {**os.environ, "PYTHONPATH": str(root), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([sys.executable, "-c", KILLED, str(tmp_path)], env=environment, check=False)
    assert done.returncode == -9
    matrix = ScoreMatrix(tmp_path, "key", 6, 4)
    assert matrix.num_done == 3
    asked = []
    scores = matrix.fill(lambda row: asked.append(row) or torch.arange(4.0) + 10 * row)
    assert asked == [3, 4, 5]
    assert torch.equal(scores, torch.arange(4.0) + 10 * torch.arange(6.0)[:, None])


def test_a_matrix_of_another_size_is_refused(tmp_path):
    ScoreMatrix(tmp_path, "key", 6, 4)
    with pytest.raises(UserError, match="holds scores of 6 texts and 4 images, but 6 and 5 are ranked; name another"):
        ScoreMatrix(tmp_path, "key", 6, 5)
    (path,) = tmp_path.glob("*.scores.npy")
    path.write_bytes(b"no array")
    with pytest.raises(UserError, match="cannot be read as scores"):
        ScoreMatrix(tmp_path, "key", 6, 4)


def test_an_experiment_file_ranks_in_two_stages_and_without_training(tmp_path):
    staged = settings(out=tmp_path, rerank=5, rerank_sample=4, scores=tmp_path / "scores", steps=2)
    train(staged, staged.folder, progress=False)
    found = evaluate(staged.folder, "test")
    assert {"sampled-recall@10", "sampled-recall@10-of-all-pairs", "text-to-image-recall@10"} <= found.keys()
    assert list((tmp_path / "scores").glob("*.scores.npy"))
    zero = settings(out=tmp_path / "zero", steps=0)
    train(zero, zero.folder, progress=False)
    assert "text-to-image-recall@1" in evaluate(zero.folder, "test")


def test_what_cannot_be_ranked_is_said():
    with pytest.raises(UserError, match=r"data.rerank is 0 but must be at least 1, or null to score all pairs"):
        NumberWorldData(rerank=0)
    with pytest.raises(UserError, match=r"data.rerank_sample is -1 but must not be negative"):
        NumberWorldData(rerank=3, rerank_sample=-1)
    built = build(settings(rerank=5))
    built.task.first_stage = None
    with pytest.raises(UserError, match="candidates were to be re-ranked, but the task was built without a"):
        built.task.predictions(built.source("dev"))
