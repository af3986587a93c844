"""One BERT over a text and the regions of its image."""

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from mm_kptm.batch import EVERY_ROW, POOLED_ONLY, Inputs, OutputRows, Regions, SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.nn.attention import Attention
from mm_kptm.nn.visibility import Branches, Matrix
from mm_kptm.systems.discovery import find
from mm_kptm.systems.system import System
from tests.vision.conftest import regions_of, small_uniter


def taken(regions: Regions, rows: Tensor, layout: SequenceLayout) -> Regions:
    return Regions(features=regions.features[rows], boxes=regions.boxes[rows], layout=layout)


def test_regions_are_a_set(uniter: System, inputs: Inputs) -> None:
    """No position is learned for regions: reordering them reorders their states and nothing else."""
    order = torch.tensor([1, 0, 4, 2, 5, 3, 8, 6, 7])
    shuffled = inputs.with_streams(regions=taken(inputs.regions, order, inputs.regions.layout))
    a, b = uniter(inputs), uniter(shuffled)
    torch.testing.assert_close(a.text, b.text)
    torch.testing.assert_close(a.pooled, b.pooled)
    torch.testing.assert_close(a.regions[order], b.regions)


def test_company_changes_nothing(uniter: System, inputs: Inputs) -> None:
    together = uniter(inputs)
    texts = list(inputs.text.layout.split(inputs.text.ids))
    features, boxes = (list(inputs.regions.layout.split(x)) for x in (inputs.regions.features, inputs.regions.boxes))
    for number in range(3):
        image = Regions(features[number], boxes[number], SequenceLayout((len(boxes[number]),)))
        alone = uniter(Inputs(text=Tokens.of([texts[number].tolist()]), regions=image))
        torch.testing.assert_close(alone.pooled[0], together.pooled[number])
        torch.testing.assert_close(alone.text, list(inputs.text.layout.split(together.text))[number])
        torch.testing.assert_close(alone.regions, list(inputs.regions.layout.split(together.regions))[number])


def test_padding_changes_nothing_wherever_it_stands(uniter: System, inputs: Inputs) -> None:
    text, regions = inputs.text, inputs.regions
    ids, features, boxes = torch.full((3, 8), 39), torch.full((3, 6, 12), 1e3), torch.full((3, 6, 4), 1e3)
    real_ids = torch.tensor([[0, 1, 0, 1, 0, 0, 1, 0], [0, 0, 0, 1, 1, 1, 1, 1], [1, 1, 1, 1, 1, 1, 0, 0]]).bool()
    real = torch.tensor([[0, 0, 1, 0, 0, 1], [1, 1, 1, 1, 0, 0], [1, 0, 1, 0, 1, 0]]).bool()
    ids[real_ids], features[real], boxes[real] = text.ids, regions.features, regions.boxes
    positions = (real_ids.cumsum(1) - 1).clamp(min=0)
    padded = Inputs(
        text=Tokens.padded(ids, real_ids, positions=positions), regions=Regions.padded(features, boxes, real)
    )
    torch.testing.assert_close(uniter(padded).pooled, uniter(inputs).pooled)


def test_an_image_is_embedded_once_however_many_texts_ask(uniter: System, inputs: Inputs) -> None:
    counted: list[int] = []
    uniter.encoder.embed.regions.feature.register_forward_hook(lambda _m, given, _o: counted.append(len(given[0])))
    shared = replace(inputs.with_streams(regions=regions_of(4, 2)), image_of=torch.tensor([1, 0, 1]))
    rows = torch.tensor([4, 5, 0, 1, 2, 3, 4, 5])
    repeated = inputs.with_streams(regions=taken(shared.regions, rows, SequenceLayout((2, 4, 2))))
    a, b = uniter(shared), uniter(repeated)
    assert counted == [6, 8]
    for ours, theirs in ((a.text, b.text), (a.regions, b.regions), (a.pooled, b.pooled)):
        torch.testing.assert_close(ours, theirs)


def test_either_part_may_be_missing(uniter: System, inputs: Inputs) -> None:
    text, regions = uniter(inputs.with_streams(regions=None)), uniter(inputs.with_streams(text=None))
    assert text.text.shape == (14, 16) and "regions" not in text.states and text.pooled.shape == (3, 16)
    assert "text" not in regions.states and regions.regions.shape == (9, 16) and regions.pooled.shape == (3, 16)
    with pytest.raises(UserError, match="this model reads text, regions or both, but the inputs have neither"):
        uniter(Inputs())


@pytest.mark.parametrize(
    "output_rows",
    [
        OutputRows({"text": torch.tensor([1, 5, 13]), "regions": torch.tensor([0, 8])}),
        OutputRows({"regions": torch.tensor([2, 3])}, pooled=False),
        OutputRows({"text": EVERY_ROW}),
        POOLED_ONLY,
    ],
    ids=["some", "regions", "text", "pooled"],
)
def test_wanted_rows_are_those_of_the_whole(uniter: System, inputs: Inputs, output_rows: OutputRows) -> None:
    whole, some = uniter(inputs), uniter(inputs, output_rows)
    assert some.states.keys() == output_rows.by_stream.keys()
    for name, states in some.states.items():
        torch.testing.assert_close(states, whole[name][output_rows[name]])
    torch.testing.assert_close(some.pooled, whole.pooled[: 3 if output_rows.pooled else 0])


def tree(branch_token: int) -> Inputs:
    """Two texts, the first with a branch (rows 2 and 3) hanging from its second word."""
    text = Tokens.of(
        [[2, 7, branch_token, 21, 8, 3], [2, 9, 3]],
        positions=[[0, 1, 2, 3, 2, 3], [0, 1, 2]],
        attention_mask=Branches(
            words=torch.tensor([0, 1, 1, 1, 2, 3, 0, 1, 2]), branches=torch.tensor([0, 0, 1, 1, 0, 0, 0, 0, 0])
        ),
    )
    return Inputs(text=text, regions=regions_of(3, 2))


def test_a_fact_reaches_regions_only_through_its_word() -> None:
    one, two = small_uniter(num_layers=1), small_uniter(num_layers=2)
    before, after = one(tree(20)), one(tree(30))
    assert torch.equal(before.regions, after.regions)
    changed = (before.text != after.text).any(1).nonzero().squeeze(1).tolist()
    assert changed == [1, 2, 3], "the word and its branch"
    deep = (two(tree(20)).regions != two(tree(30)).regions).any(1)
    assert deep.tolist() == [True, True, True, False, False], "the regions of the first text, by way of its word"


def test_branches_agree_with_the_matrix_they_stand_for(uniter: System) -> None:
    given = tree(20)
    rows = torch.arange(9)
    cells = given.text.attention_mask.mask_mod(rows[:, None], rows[None, :])
    dense = replace(given.text, attention_mask=Matrix.of([cells[:6, :6], cells[6:, 6:]]))
    a, b = uniter(given), uniter(given.with_streams(text=dense))
    # the dense matrix knows the text only, so it lets regions see the branch; the words of the other text agree
    torch.testing.assert_close(a.text[6:], b.text[6:])
    torch.testing.assert_close(a.pooled[1], b.pooled[1])
    torch.testing.assert_close(uniter(given.with_streams(regions=None)).text, uniter(Inputs(text=dense)).text)


@pytest.mark.parametrize(
    ("images", "message"),
    [
        (None, r"3 texts cannot be joined with the regions of 2 images; give image_of"),
        ([0, 1], r"image_of names an image for 2 texts, but there are 3"),
        ([0, 2, 1], r"text 1 is about image 2, but the images are 0 to 1"),
        ([0, 1, -1], r"text 2 is about image -1, but the images are 0 to 1"),
    ],
)
def test_texts_without_their_image_are_refused(
    uniter: System, inputs: Inputs, images: list[int] | None, message: str
) -> None:
    image_of = None if images is None else torch.tensor(images)
    with pytest.raises(UserError, match=message):
        uniter(replace(inputs.with_streams(regions=regions_of(2, 4)), image_of=image_of))


def test_showing_no_regions_is_refused(inputs: Inputs) -> None:
    with pytest.raises(UserError, match="regions are read here, but the inputs have none"):
        inputs.with_streams(regions=None).repeat_shared()


def test_attention_has_a_dropout_of_its_own() -> None:
    """``attention_probs_dropout_prob`` of a configuration; that of the states where it says none."""
    recipe = find("uniter-base")
    for config, rate in (({"attention_probs_dropout_prob": 0.3}, 0.3), ({}, 0.2)):
        sizes = recipe.configured_sizes({"hidden_dropout_prob": 0.2, **config})
        encoder = recipe.build(**{**SMALL, **sizes})
        attention = [part.dropout for part in encoder.modules() if isinstance(part, Attention)]
        states = {part.p for part in encoder.modules() if isinstance(part, nn.Dropout)}
        assert attention == [rate] * 2 and states == {0.2}


SMALL = {"dim": 8, "num_heads": 2, "num_layers": 2, "ffn_dim": 16, "vocab_size": 20, "region_dim": 4}
