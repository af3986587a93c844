"""Tagged texts pretrain SentiLARE."""

import json
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from mm_kptm import experiment
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.pretraining.sentiment_tagged import SentimentTexts
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.knowledge.lexicons.sentiwordnet import NEUTRAL, OTHER, POSITIVE, UNGRADED
from mm_kptm.knowledge.objectives.label_aware_mlm import LabelAwareBatch
from mm_kptm.train import TrainSettings

LINES = [
    {"words": ["A", "good", "meal"], "tags": ["DT", "JJ", "NN"], "grade": 4},
    {"words": ["bad", "meals"], "tags": ["JJ", "NNS"], "grade": 0},
    {"words": ["a", "meal"], "tags": ["DT", "NN"]},
]
LEXICON = "a\t1\t0.75\t0\tgood#1\tof quality\na\t2\t0\t0.5\tbad#1\tof none\n"


@pytest.fixture
def data(tmp_path: Path) -> SentimentTexts:
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, "a", "good", "bad", "meal", "##s"]) + "\n")
    (tmp_path / "train.jsonl").write_text("\n".join(map(json.dumps, LINES)))
    (tmp_path / "senti.txt").write_text(LEXICON)
    return SentimentTexts(
        name="sentiment-tagged",
        vocabulary=tmp_path / "vocab.txt",
        train=tmp_path / "train.jsonl",
        test=tmp_path / "train.jsonl",
        sentiwordnet=tmp_path / "senti.txt",
    )


def asked(data: SentimentTexts) -> Experiment:
    return Experiment(
        name="felt",
        encoder=EncoderSettings("sentilare-base", {"dim": 16, "num_heads": 2, "num_layers": 1, "ffn_dim": 24}),
        data=data,
        objectives={"label-aware-words": 1.0},
        train=TrainSettings(steps=3, batch_size=2),
    )


def test_every_piece_knows_what_its_word_is(data: SentimentTexts) -> None:
    built = build(asked(replace(data, mask_rate_polar=0.0, mask_rate=0.0, late_supervision_rate=0.0)))
    batch = built.source("train").batch(range(3), seeded(0)).by_name["label-aware-words"]
    assert isinstance(batch, LabelAwareBatch) and not len(batch.rows)
    text = batch.inputs.text
    assert text is not None and text.token_labels is not None
    ids, parts, polarities, grades, units = (
        [rows.tolist() for rows in text.layout.split(column)]
        for column in (
            text.ids,
            text.token_labels["part"],
            text.token_labels["polarity"],
            text.token_labels["grade"],
            text.mask_groups,
        )
    )
    assert ids == [[2, 5, 6, 8, 3], [2, 7, 8, 9, 3], [2, 5, 8, 3]]
    assert parts[:2] == [[OTHER, OTHER, 1, 3, OTHER], [OTHER, 1, 3, 3, OTHER]]
    assert polarities[0] == [NEUTRAL, NEUTRAL, POSITIVE, NEUTRAL, NEUTRAL]
    assert grades == [[5, 4, 4, 4, 5], [5, 0, 0, 0, 5], [UNGRADED] * 4]
    assert units[1][2] == units[1][3] != units[1][1], "both pieces of a word"


def test_shares_are_those_of_the_settings(data: SentimentTexts) -> None:
    built = build(asked(replace(data, mask_rate_polar=1.0, mask_rate=0.0, late_supervision_rate=1.0)))
    batch = built.source("train").batch(range(3), seeded(0)).by_name["label-aware-words"]
    assert batch.words.tolist() == [6, 7], "every word with a polarity, and no other"
    assert batch.grades.tolist() == [4, 0] and batch.graded.tolist() == [0, 1]


def test_a_run_trains_and_can_be_measured(data: SentimentTexts, tmp_path: Path) -> None:
    experiment.train(asked(data), tmp_path / "run", progress=False)
    measured = experiment.evaluate(tmp_path / "run", "test")
    assert torch.tensor(measured["label-aware-words"]).isfinite()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"tags": ["DT"]}, r"train\.jsonl, line 4 has 2 words but 1 tags; give one tag a word$"),
        ({"grade": 7}, r"train\.jsonl, line 4: 'grade' is 7; grades are 0 to 4, none where it is left out$"),
        ({"words": "a meal"}, r"train\.jsonl, line 4: 'words' must be a list, but it is"),
    ],
)
def test_a_line_of_another_form_is_named(data: SentimentTexts, change: dict[str, object], message: str) -> None:
    data.train.write_text("\n".join(map(json.dumps, [*LINES, {**LINES[2], **change}])))
    with pytest.raises(UserError, match=message):
        build(asked(data)).source("train")


def test_a_share_lies_between_0_and_1(data: SentimentTexts) -> None:
    with pytest.raises(UserError, match=r"^data\.mask_rate_polar is 1\.5 but must be a share, between 0 and 1$"):
        replace(data, mask_rate_polar=1.5)
