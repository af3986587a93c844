"""The states of regions say which of them a text means, with a pass of their own or with that of the task."""

import pytest
import torch
import torch.nn.functional as F

import mm_kptm
from mm_kptm.batch import Inputs, Regions, SequenceLayout, Tokens
from mm_kptm.data.sampler import seeded
from mm_kptm.errors import UserError
from mm_kptm.experiment.build import build
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.suites.atlas.datasets.settings import AtlasData
from mm_kptm.systems.system import System
from mm_kptm.vision.objectives.grounding.region_grounding import RegionGrounding

NAME = RegionGrounding.name
SIZES = {"dim": 8, "num_heads": 2, "num_layers": 1, "ffn_dim": 8}
ROWS = torch.tensor([[1, 0, -1], [0, 1, -1], [1, 1, 0]])


def system() -> System:
    return mm_kptm.build("uniter-base", heads={NAME: {}}, seed=0, vocab_size=10, region_dim=4, **SIZES)


def labelled(rows: torch.Tensor = ROWS) -> Inputs:
    """Two texts about the first image of two regions, one about the second image of three."""
    box = torch.tensor([[0.0, 0.0, 1.0, 1.0]])
    regions = Regions(torch.rand(5, 4, generator=seeded(0)), box.expand(5, 4), SequenceLayout((2, 3)))
    text = Tokens.of([[0, 5, 2], [0, 6, 2], [0, 7, 2]])
    return Inputs(text=text, regions=regions, image_of=torch.tensor([0, 0, 1]), labels={NAME: rows})


def test_every_region_of_every_text_is_judged() -> None:
    model, objective = system(), RegionGrounding()
    batch = objective.prepare(labelled())
    assert batch.meant.tolist() == [1, 0, 0, 1, 1, 1, 0]
    scores = model.head(NAME)(model(batch.inputs).regions)[:, 0]
    each = F.binary_cross_entropy_with_logits(scores, batch.meant.float(), reduction="none")
    torch.testing.assert_close(objective.loss(model, batch), each.mean())
    expected = torch.stack([each[:2].mean(), each[2:4].mean(), each[4:].mean()])
    torch.testing.assert_close(objective.measure(model, batch), expected)


def test_regions_without_a_label_have_no_loss() -> None:
    model, objective = system(), RegionGrounding()
    every = objective.prepare(labelled())
    some = objective.prepare(labelled(torch.tensor([[1, -1, -1], [0, 1, -1], [-1, -1, -1]])))
    kept = objective.prepare(labelled(torch.tensor([[1, -1, -1], [0, 1, 0], [-1, -1, -1]])))
    assert objective.loss(model, some) == objective.loss(model, kept) != objective.loss(model, every)
    nothing = objective.loss(model, objective.prepare(labelled(torch.full((3, 3), -1))))
    nothing.backward()
    assert nothing == 0 and not model.head(NAME).weight.grad.any()


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ({}, r"^region-grounding predicts which regions each text means, which these inputs do not say$"),
        ({NAME: ROWS[:, 0]}, r"takes a label for every region of a text, \[texts, regions\], but they are \[3\]"),
        ({NAME: ROWS[:, :2]}, r"but they are \[3, 2\] for up to 3 regions$"),
    ],
)
def test_inputs_without_fitting_labels_are_refused(labels: dict[str, torch.Tensor], message: str) -> None:
    inputs = labelled()
    with pytest.raises(UserError, match=message):
        RegionGrounding().prepare(Inputs(inputs.streams, image_of=inputs.image_of, labels=labels))


def test_beside_counting_one_pass_gives_what_two_give() -> None:
    data = AtlasData(languages=("en",), parallel_languages=(), scenes=12)
    encoder = EncoderSettings("uniter-base", {**SIZES, "dropout": 0.0})
    built = build(Experiment("counting", encoder, data, task="vqa", objectives={NAME: 2.0}))
    source = built.training.examples
    batch = built.training.batch(range(12), seeded(0))
    meant = batch.batches.by_name[NAME]
    counts = [int(labels.sum()) for labels in meant.layout.split(meant.meant)]
    assert counts == [int(one.target) for one in source.about], "what is meant is what is counted"
    passes: list[int] = []
    built.system.register_forward_hook(lambda *_: passes.append(1))
    loss = built.model.loss(batch)
    assert len(passes) == 1
    apart = built.model.task.loss(batch.examples) + 2 * RegionGrounding().loss(built.system, meant)
    torch.testing.assert_close(loss, apart)
