"""What holds for every encoder that pools text and image together: ViLBERT, 12-in-1 and VOLTA's models."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from mm_kptm.batch import EVERY_ROW, NO_ROWS, POOLED_ONLY, Inputs, OutputRows, Regions, SequenceLayout, Tokens
from mm_kptm.systems.system import System
from tests.vision.conftest import REGION_DIM, regions_of
from tests.vision.small import every_system, three_texts

SYSTEMS = every_system()


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest) -> System:
    return SYSTEMS[request.param]


@pytest.fixture
def inputs() -> Inputs:
    return three_texts()


def same(ours: object, theirs: object) -> None:
    for name, tensor in vars(ours).items():
        torch.testing.assert_close(tensor, vars(theirs)[name], atol=1e-5, rtol=1e-4, msg=lambda m, n=name: f"{n}: {m}")


@torch.no_grad()
def test_padding_changes_nothing_wherever_it_stands(system: System, inputs: Inputs) -> None:
    text, regions = inputs.text, inputs.regions
    ids, features, boxes = torch.full((3, 8), 39), torch.full((3, 6, REGION_DIM), 1e3), torch.full((3, 6, 4), 1e3)
    real_ids = torch.tensor([[0, 1, 0, 1, 0, 0, 1, 0], [0, 0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 0, 0]]).bool()
    real = torch.tensor([[0, 0, 1, 0, 0, 1], [1, 1, 1, 1, 0, 0], [1, 0, 1, 0, 1, 0]]).bool()
    ids[real_ids], features[real], boxes[real] = text.ids, regions.features, regions.boxes
    positions = (real_ids.cumsum(1) - 1).clamp(min=0)
    padded = Inputs(
        text=Tokens.padded(ids, real_ids, positions=positions), regions=Regions.padded(features, boxes, real)
    )
    same(system(padded), system(inputs))


@torch.no_grad()
def test_an_example_does_not_depend_on_its_batch(system: System, inputs: Inputs) -> None:
    alone = system(Inputs(text=Tokens.of([[2, 8, 9, 10, 3]]), regions=one_image(inputs.regions, 1)))
    together = system(inputs)
    torch.testing.assert_close(alone.text, together.text[3:8], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(alone.regions, together.regions[2:6], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(alone.pooled, together.pooled[1:2], atol=1e-5, rtol=1e-4)


def one_image(regions: Regions, image: int) -> Regions:
    rows = slice(regions.layout.offsets[image], regions.layout.offsets[image + 1])
    return Regions(regions.features[rows], regions.boxes[rows], SequenceLayout((regions.layout.lengths[image],)))


@torch.no_grad()
def test_images_that_texts_share_count_as_often_as_they_are_shown(system: System, inputs: Inputs) -> None:
    regions, image_of = regions_of(2, 4), [1, 0, 1]
    images = [one_image(regions, image) for image in image_of]
    repeated = Regions(
        torch.cat([image.features for image in images]),
        torch.cat([image.boxes for image in images]),
        SequenceLayout(tuple(image.layout.total for image in images)),
    )
    shared = replace(inputs.with_streams(regions=regions), image_of=torch.tensor(image_of))
    same(system(shared), system(inputs.with_streams(regions=repeated)))


@torch.no_grad()
def test_what_is_not_wanted_is_not_missed(system: System, inputs: Inputs) -> None:
    """Every selection of rows has the values that they have among all rows."""
    everything = system(inputs)
    for tokens in (EVERY_ROW, NO_ROWS, torch.tensor([1, 4, 13])):
        for regions in (EVERY_ROW, NO_ROWS, torch.tensor([0, 8])):
            for pooled in (True, False):
                some = system(inputs, OutputRows({"text": tokens, "regions": regions}, pooled))
                wanted = {"text": tokens, "regions": regions}
                states = {name: everything[name][rows] for name, rows in wanted.items() if rows is not NO_ROWS}
                torch.testing.assert_close(some.states, states, atol=1e-5, rtol=1e-4)
                vectors = everything.pooled if pooled else everything.pooled[:0]
                torch.testing.assert_close(some.pooled, vectors, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_shared_images_may_be_asked_for_single_rows(system: System, inputs: Inputs) -> None:
    shared = replace(inputs.with_streams(regions=regions_of(2, 4)), image_of=torch.tensor([1, 0, 1]))
    everything, rows = system(shared), torch.tensor([0, 5, 9])
    some = system(shared, OutputRows({"regions": rows}, pooled=False))
    torch.testing.assert_close(some.regions, everything.regions[rows], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(system(shared, POOLED_ONLY).pooled, everything.pooled, atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_rows_given_back_are_the_rows_put_in(system: System, inputs: Inputs) -> None:
    encoded = system(inputs)
    assert len(encoded.text) == inputs.text.layout.total
    assert len(encoded.regions) == inputs.regions.layout.total
    assert encoded.pooled.shape == (3, system.encoder.pooled_dim)


@torch.no_grad()
def test_text_alone_and_images_alone_are_read(system: System, inputs: Inputs) -> None:
    text, images = system(Inputs(text=inputs.text)), system(Inputs(regions=inputs.regions))
    assert text.text.isfinite().all() and text.pooled.isfinite().all() and len(text.regions) == 0
    assert images.regions.isfinite().all() and len(images.regions) == 9 and len(images.pooled) == 0
    pooler = system.encoder.pooler
    torch.testing.assert_close(text.pooled, pooler.of_text(text.text[[0, 3, 8]]))  # no image, nothing to fuse


@torch.no_grad()
def test_a_text_without_an_image_leaves_the_others_alone(system: System, inputs: Inputs) -> None:
    regions = one_image(inputs.regions, 0)
    some = Regions(regions.features, regions.boxes, SequenceLayout((2, 0, 0)))
    encoded, alone = system(inputs.with_streams(regions=some)), system(Inputs(text=inputs.text))
    torch.testing.assert_close(encoded.text[3:], alone.text[3:], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(encoded.pooled[0], system(inputs).pooled[0], atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_feature_of_the_whole_image_is_the_mean_unless_given(system: System, inputs: Inputs) -> None:
    regions = inputs.regions
    means = torch.stack([rows.mean(0) for rows in regions.layout.split(regions.features)])
    same(system(inputs.with_streams(regions=replace(regions, whole_image=means))), system(inputs))
    other = system(inputs.with_streams(regions=replace(regions, whole_image=means + 1.0)))
    assert not torch.allclose(other.text, system(inputs).text, atol=1e-4)


def test_training_reaches_every_parameter(system: System, inputs: Inputs) -> None:
    system.zero_grad()
    encoded = system(inputs)
    sum((part * torch.randn_like(part)).sum() for part in (*encoded.states.values(), encoded.pooled)).backward()
    for name, parameter in system.encoder.named_parameters():
        if name.endswith("regions.mask"):
            continue  # nothing is masked here
        assert parameter.grad is not None, name
        assert name.endswith("key.bias") or parameter.grad.any(), name
