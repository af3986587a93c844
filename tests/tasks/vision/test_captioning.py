"""Captions are learnt from masked words and written word by word, in the form of each family."""

import pytest
import torch

from mm_kptm.data.sampler import seeded
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.suites.number_world.generator.scene import FEATURES
from mm_kptm.train.settings import TrainSettings

SIZES = {"dim": 64, "num_heads": 2, "num_layers": 2, "ffn_dim": 128, "dropout": 0.0}


def built(recipe: str, **sizes: object):
    return build(
        Experiment(
            name="captions",
            task="captioning",
            encoder=EncoderSettings(recipe, sizes={**SIZES, **sizes}, init_std=0.1),
            data=NumberWorldData(questions=3, eval_questions=3, languages=("en",), sizes=(2,)),
            train=TrainSettings(seed=1),
        )
    )


@pytest.mark.parametrize(("recipe", "sizes"), [("vlp-base", {"num_region_classes": 0}), ("oscar-base", {})])
def test_captions_that_were_learnt_are_written(recipe, sizes):
    run = built(recipe, **sizes)
    source = run.source("train")
    optimizer = torch.optim.AdamW(run.model.parameters(), lr=1.5e-3, weight_decay=0.0)
    for step in range(400):
        loss = run.model.loss(source.batch(range(3), seeded(0, step)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        if step % 60 == 59:
            rows = run.task.predictions(source, batch_size=2)
            if all(row["answer"] in row["references"].split("\n") for row in rows):
                break
    assert all(row["answer"] in row["references"].split("\n") and row["correct"] == 1 for row in rows)
    found = run.task.summary(rows)
    assert found["bleu-4"] == pytest.approx(1) and found["rouge-l"] == 1 and found["cider-d"] > 1
    assert [row["id"] for row in rows] == [about.id for about in source.about]


def test_a_word_sees_no_later_word():
    """The likelihood of a word that decoding asks for is the one that training gives it."""
    run = built("oscar-base")
    source = run.source("train")
    batch = source.batch([0], seeded(0))
    task = run.task.eval()
    text = batch.targets.inputs.text
    first = int(batch.targets.rows[0])
    changed = text.ids.clone()
    changed[first + 1 :] = changed[first + 1 :].flip(0)  # what stands behind the masked word
    from dataclasses import replace

    shown = batch.targets.inputs.with_streams(text=replace(text, ids=changed))
    one, other = (task.system(inputs).text[first] for inputs in (batch.targets.inputs, shown))
    torch.testing.assert_close(one, other)


def test_two_streams_that_read_each_other_are_refused():
    message = "but in lxmert-base the two streams read each other; take a single-stream encoder such as vlp-base or"
    with pytest.raises(UserError, match=message):
        built("lxmert-base", region_dim=FEATURES, num_region_layers=1, num_cross_layers=1)
