"""A batch goes to the device in the bytes that hold it, and is widened there."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mm_kptm.batch import Movable, Regions, SequenceLayout
from mm_kptm.batch import rows as ragged_rows
from mm_kptm.batch.rows import copied, narrowed, on_host, tensors_of
from mm_kptm.data.sampler import seeded
from mm_kptm.data.tokenizers.protocol import BERT_SPECIALS
from mm_kptm.datasets.pretraining.image_text_pairs import ImageTextPairs
from mm_kptm.experiment.build import build
from mm_kptm.experiment.settings import EncoderSettings, Experiment
from mm_kptm.train.protocol import module_of
from tests.simulated_cuda import CUDA, send, simulated_cuda
from tests.stores import write_regions

SIZES = {"dim": 8, "num_heads": 2, "num_layers": 1, "ffn_dim": 8, "max_positions": 24, "dropout": 0.0}


@pytest.mark.parametrize(
    ("last", "kind"), [(2**15 - 1, torch.int16), (2**15, torch.int32), (2**31 - 1, torch.int32), (2**31, torch.int64)]
)
def test_integers_are_sent_in_the_fewest_bits_that_hold_them(last: int, kind: torch.dtype) -> None:
    numbers = torch.arange(300) - 7
    numbers[3] = last
    assert narrowed(numbers).dtype == kind and torch.equal(narrowed(numbers).long(), numbers)
    with simulated_cuda() as device:
        there = copied(numbers, CUDA)
    assert there.dtype == torch.long and there.device == CUDA and on_host(there) is numbers
    assert device.bytes_sent == 300 * kind.itemsize and not device.reads


def test_few_integers_and_other_numbers_are_sent_as_they_are() -> None:
    for tensor in (torch.arange(255), torch.zeros(300, dtype=torch.bool), torch.zeros(300, dtype=torch.half)):
        assert narrowed(tensor) is tensor


@pytest.fixture
def data(tmp_path: Path) -> ImageTextPairs:
    rng = np.random.default_rng(0)
    boxes = np.tile([0.0, 0.0, 1.0, 1.0], (30, 1))
    write_regions(tmp_path / "regions", [(str(image), rng.random((30, 64)), boxes) for image in range(12)])
    probabilities = rng.random((360, 9))
    np.save(tmp_path / "regions" / "class_probs.npy", (probabilities / probabilities.sum(1)[:, None]).astype("<f2"))
    lines = [{"image": str(image), "captions": ["a dog"] * 10} for image in range(12)]
    (tmp_path / "captions.jsonl").write_text("\n".join(map(json.dumps, lines)))
    (tmp_path / "vocab.txt").write_text("\n".join([*BERT_SPECIALS, "a", "dog"]))
    return ImageTextPairs(
        name="image-text-pairs",
        vocabulary=tmp_path / "vocab.txt",
        train=tmp_path / "captions.jsonl",
        features=tmp_path / "regions",
    )


def test_features_are_float16_until_the_model_reads_them(data: ImageTextPairs) -> None:
    """Of a batch of masked regions: features twice, as input and as target, and every integer in two bytes."""
    objectives = dict.fromkeys(("masked-tokens", "masked-region-features", "masked-region-classes"), 1.0)
    built = build(Experiment("sent", EncoderSettings("uniter-base", SIZES), data, objectives=objectives))
    batch = built.source("train").batch(range(120), seeded(0))
    features = batch.by_name["masked-region-features"].inputs.regions.features
    assert features.dtype == torch.float16 and features.shape == (360, 64)
    assert torch.equal(built.model.loss(_single(batch)), built.model.loss(batch)), "the same, widened earlier"
    with simulated_cuda() as device:
        send(module_of(built.model).train())
        before = device.bytes_sent
        there = batch.to(CUDA)
        narrow = device.bytes_sent - before
        assert built.model.loss(there).dtype == torch.float32 and not device.reads
    sent = [tensor for tensor in tensors_of(batch) if isinstance(tensor, torch.Tensor)]
    assert narrow == sum(one.numel() * narrowed(one).element_size() for one in sent)
    integers = [one for one in sent if one.dtype == torch.long and one.numel() >= ragged_rows.NARROWED_FROM]
    assert {narrowed(one).dtype for one in integers} == {torch.int16} and len(integers) > 5
    wide = sum(one.numel() * max(one.element_size(), 4 if one.is_floating_point() else 1) for one in sent)
    assert narrow < wide / 1.9


def _single(value: object) -> object:
    """A batch whose halves are float32 from the start."""
    if isinstance(value, torch.Tensor):
        return value.float() if value.dtype == torch.float16 else value
    if isinstance(value, dict):
        return {name: _single(part) for name, part in value.items()}
    if isinstance(value, Movable):
        changed = {name: _single(part) for name, part in vars(value).items() if name in value.__dataclass_fields__}
        return type(value)(**changed)
    return value


def test_weights_in_float16_read_float16() -> None:
    regions = Regions(torch.ones(2, 3).half(), torch.zeros(2, 4), SequenceLayout((2,)))
    assert regions.widened(torch.float16) is regions
    wide = regions.widened(torch.float32)
    assert wide.features.dtype == torch.float32 and wide.widened(torch.float32) is wide
