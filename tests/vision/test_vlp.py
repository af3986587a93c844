"""VLP: an image inside a text, captions that are read or written, and captions that are made."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Detected, Inputs, Regions, SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.objectives.tokens import Masking
from mm_kptm.systems.pretrained import translated
from mm_kptm.systems.system import System
from mm_kptm.vision.modules.single_stream.caption_decoding import Captioning, beam_search, cut, greedy_search
from mm_kptm.vision.modules.single_stream.vlp_embedding import box_descriptors, region_geometry
from mm_kptm.vision.objectives.masked_captions import CaptionShare
from mm_kptm.vision.objectives.vlp import VlpPretraining, bidirectional_or_seq2seq, region_losses
from tests.vision.conftest import REGION_DIM, regions_of

GOLDEN = Path(__file__).parents[1] / "golden" / "data" / "vlp"
MASKING = Masking(mask_id=4, pool=(5, 40), never=frozenset(), policy=CaptionShare(beside=-1))


def small(**sizes: int | bool) -> System:
    chosen = {"dim": 16, "num_heads": 2, "num_layers": 2, "ffn_dim": 32, "vocab_size": 40, "max_positions": 20}
    sizes = {**chosen, "region_dim": REGION_DIM, "num_region_classes": 7, **sizes}
    return mm_kptm.build(
        "vlp", heads={"masked-tokens": {}, "fused-answers": {"num_answers": 5}}, seed=3, dropout=0.0, **sizes
    )


def images(*counts: int) -> Regions:
    regions = regions_of(*counts)
    sure = Detected(torch.zeros(sum(counts), dtype=torch.long), torch.rand(sum(counts)))
    return replace(regions, objects=sure)


def texts() -> Tokens:
    return Tokens.of([[2, 3, 7, 8, 9, 3], [2, 3, 10, 11, 3]])


def given(*written: bool) -> Inputs:
    return Inputs(text=bidirectional_or_seq2seq(texts(), torch.tensor(written)), regions=images(3, 2))


def test_six_numbers_and_the_geometry_of_a_box() -> None:
    """The hand case of two boxes: (0.05, 0.0909, 0.55, 1.0, 0.4545, 0.9) and what the norm makes of it."""
    raw = torch.tensor([[10.0, 20, 110, 220, 0.9], [50, 60, 200, 100, 0.3]])
    boxes, confidence = raw[:, :4], raw[:, 4]
    six = box_descriptors(boxes, confidence, SequenceLayout((2,)))
    torch.testing.assert_close(six[0], torch.tensor([0.05, 0.0909, 0.55, 1.0, 0.4545, 0.9]), atol=1e-4, rtol=0)
    regions = Regions(
        torch.zeros(2, 4),
        boxes / 1000,
        SequenceLayout((2,)),
        classes=torch.eye(2),
        objects=Detected(torch.zeros(2), confidence),
    )
    geometry = region_geometry(regions)
    normed = torch.tensor([-1.2657, -1.1526, 0.1174, 1.3621, -0.1467, 1.0855])
    torch.testing.assert_close(geometry[0, :6], normed, atol=2e-4, rtol=0)
    torch.testing.assert_close(geometry[:, 6:], torch.tensor([[1.0, -1.0], [-1.0, 1.0]]), atol=1e-4, rtol=0)


def test_every_image_has_a_corner_of_its_own() -> None:
    boxes = torch.tensor([[0.1, 0.1, 0.5, 0.4], [0.0, 0.2, 0.2, 0.8]])
    apart = box_descriptors(boxes, torch.ones(2), SequenceLayout((1, 1)))
    torch.testing.assert_close(apart[:, 2:4], torch.ones(2, 2))
    assert box_descriptors(boxes[:0], torch.ones(0), SequenceLayout((0, 0))).shape == (0, 6)


def test_the_image_stands_behind_the_first_token_and_moves_the_positions_of_the_text() -> None:
    """A text of its own with positions that leave room for the image is embedded alike."""
    system = small()
    inputs = given(False, False)
    assembled = system.encoder.embed(inputs)
    assert assembled.text.tolist() == [0, 4, 5, 6, 7, 8, 9, 12, 13, 14, 15]
    assert assembled.parts["regions"].tolist() == [1, 2, 3, 10, 11]
    moved = replace(inputs.text, positions=torch.tensor([0, 4, 5, 6, 7, 8, 0, 3, 4, 5, 6]))
    torch.testing.assert_close(assembled.stream.x[assembled.text], system.encoder.embed.text(moved))


def test_a_written_word_changes_only_the_words_behind_it() -> None:
    system = small()
    before = given(True, False)
    for place, changed in ((3, [3, 4, 5]), (8, [6, 7, 8, 9, 10])):
        ids = before.text.ids.clone()
        ids[place] = 20
        after = replace(before, text=replace(before.text, ids=ids))
        a, b = system(before), system(after)
        assert (a.text != b.text).any(1).nonzero().squeeze(1).tolist() == changed
        assert (a.regions != b.regions).any(1).tolist() == ([False] * 5 if place == 3 else [False] * 3 + [True] * 2)


def test_segments_say_which_way_a_caption_is_used() -> None:
    assert given(True, False).text.segments.tolist() == [4, 4, 5, 5, 5, 5, 0, 0, 1, 1, 1]


def test_hidden_regions_are_seen_by_none_unless_asked_for() -> None:
    inputs = given(False, False)
    masked = torch.tensor([False, True, False, False, False])
    for sees, changes in ((False, False), (True, True)):
        system = small(attends_to_masked_regions=sees)
        covered = inputs.with_streams(regions=replace(inputs.regions, masked=masked))
        fewer = replace(inputs.regions, features=inputs.regions.features + 9 * masked[:, None])
        moved = inputs.with_streams(regions=replace(fewer, masked=masked))
        assert torch.equal(system(covered).text, system(moved).text), "its feature is gone"
        embed = system.encoder.embed
        embed.text.segment.weight.data[0] += 1  # the only thing that a masked region still has
        assert (system(covered).regions[1] - system(moved).regions[1]).abs().max() == 0
        rows = embed(covered)
        sight = rows.stream.attention.mask
        seen = (
            torch.ones(3, dtype=torch.bool)
            if sight is None
            else sight.mask_mod(torch.tensor([0, 4, 5]), torch.tensor(2))
        )
        assert bool(seen.all()) == changes


def test_captions_are_written_three_times_in_four() -> None:
    many = Inputs(text=Tokens.of([[2, 3, 7, 8, 9, 3]] * 800))
    batch = VlpPretraining(MASKING).prepare(many, torch.Generator().manual_seed(0))
    share = float((batch.inputs.text.segments.view(800, 6)[:, 0] == 4).float().mean())
    assert abs(share - 0.75) < 4 * (0.75 * 0.25 / 800) ** 0.5
    places = batch.rows % 6
    assert set(places.tolist()) == {2, 3, 4, 5}, "words and the last [SEP]"
    assert len(batch.rows) == 800


def test_the_loss_is_the_sum_over_all_predictions_by_their_number() -> None:
    system = small()
    two = Masking(mask_id=4, pool=(5, 40), never=frozenset(), policy=CaptionShare(rate=0.5, beside=-1))
    batch = VlpPretraining(two).prepare(Inputs(text=texts(), regions=images(3, 2)), torch.Generator().manual_seed(0))
    losses = VlpPretraining(two).losses(system, batch)
    assert batch.sequence_ids.tolist() == [0, 0, 1]
    torch.testing.assert_close(VlpPretraining(two).loss(system, batch), losses.sum() / 3.00001)
    worst = VlpPretraining(two, drop_worst=0.5).loss(system, batch)
    of_each = torch.stack([losses[:2].sum(), losses[2]])
    expected = of_each.min() / ((2.00001, 1.00001)[int(of_each.argmin())])
    torch.testing.assert_close(worst, expected)
    assert VlpPretraining(two).measure(system, batch).shape == (2,)


def test_hidden_regions_are_told_apart() -> None:
    system = small()
    objective = VlpPretraining(MASKING, masked_region_rate=0.67)
    batch = objective.prepare(Inputs(text=texts(), regions=images(3, 2)), torch.Generator().manual_seed(0))
    assert [int(part.sum()) for part in batch.inputs.regions.masked.split([3, 2])] == [2, 1]
    each = region_losses(system, batch.inputs)
    assert each.tolist()[1] == 0.0 < each.tolist()[0], "one region cannot be taken for another"
    parts = objective.parts(system, batch)
    torch.testing.assert_close(objective.loss(system, batch), parts["words"] + each.mean())


def captioning(max_length: int = 5) -> Captioning:
    def written(tokens: Tokens) -> Tokens:
        return bidirectional_or_seq2seq(tokens, torch.ones(len(tokens.layout), dtype=torch.bool))

    return Captioning(start=(2, 3), mask=4, stop=3, max_length=max_length, written=written)


def test_a_beam_of_all_words_finds_the_likeliest_caption() -> None:
    """A beam as wide as the vocabulary looks at every caption of two words: the best of an exhaustive count."""
    system = small(vocab_size=6)
    how, image = captioning(2), images(3)
    found = beam_search(system, image, how, width=6)

    def likelihoods(text: list[int]) -> torch.Tensor:
        tokens = how.written(Tokens.of([[2, 3, *text, 4]]))
        states = system(Inputs(text=tokens, regions=image)).text[-1:]
        return system.head("masked-tokens")(states).log_softmax(1).squeeze(0)

    with torch.no_grad():
        first = likelihoods([])
        worth = {(3,): float(first[3])}
        for word in range(6):
            if word != 3:
                second = likelihoods([word])
                worth |= {(word, other): float(first[word] + second[other]) for other in range(6)}
    best = max(worth, key=lambda text: worth[text])
    assert found.best == [list(best)]
    assert abs(float(found.scores.max()) - max(worth.values())) < 1e-5 or best == (3,)


def test_a_beam_of_one_writes_what_greedy_writes_up_to_the_end() -> None:
    system, image = small(), images(3, 2)
    ids, _ = greedy_search(system, image, captioning())
    found = beam_search(system, image, captioning(), width=1)
    for text, best in zip(ids.tolist(), found.best, strict=True):
        assert cut(text, 3) == cut(best, 3)


def test_a_length_penalty_favours_long_captions() -> None:
    system, image = small(), images(3)
    short = beam_search(system, image, captioning(), width=3, length_penalty=-10.0).best[0]
    long = beam_search(system, image, captioning(), width=3, length_penalty=10.0).best[0]
    assert len(short) <= len(long) == 5


def test_every_published_key_is_placed() -> None:
    for folder in sorted(GOLDEN.iterdir()):
        translation = translated("vlp", folder)
        assert translation.strangers == []
        assert set(translation.left) <= {"cls.predictions.decoder.weight"}


def test_published_sizes() -> None:
    """A cased BERT with four more segments and three projections of regions."""
    recipe = mm_kptm.catalogue()["vlp-base"]
    with torch.device("meta"):
        encoder = recipe.build(**recipe.published_sizes())
    regions = 2049 * 2048 + 2049 * 768 + (6 + 1601 + 1) * 768
    assert sum(parameter.numel() for parameter in encoder.parameters()) == 108_310_272 + 4 * 768 + regions


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("relax_projection", 4, "the configuration sets relax_projection to 4, with which the head for masked tokens"),
        ("task_idx", 2, "the configuration sets task_idx to 2, with which the head for masked tokens has a projection"),
        ("fp32_embedding", True, "the configuration sets fp32_embedding to True, with which embeddings are kept in an"),
    ],
)
def test_what_is_not_built_is_refused(field: str, value: Any, message: str, tmp_path: Path) -> None:
    case = GOLDEN / "pretrain"
    config = json.loads((case / "config.json").read_text()) | {field: value}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "weights.safetensors").write_bytes((case / "weights.safetensors").read_bytes())
    with pytest.raises(UserError, match=message):
        mm_kptm.load("vlp", tmp_path)


def test_what_cannot_be_read_is_refused() -> None:
    system = small()
    inputs = given(False, False)
    bare = inputs.with_streams(regions=regions_of(3, 2))
    with pytest.raises(UserError, match="together with the detector's confidence in its objects, but there is none"):
        system(bare)
    with pytest.raises(UserError, match="together with the detector's distribution over classes, but there is none"):
        system(replace(bare, regions=replace(bare.regions, classes=None)))
    with pytest.raises(UserError, match="reads the detector's distribution over 9 classes, but these regions have 7"):
        small(num_region_classes=9)(inputs)
    with pytest.raises(UserError, match=r"^sequence 1 of the 2 of text has no token"):
        system(inputs.with_streams(text=Tokens.of([[2, 3], []])))
    with pytest.raises(UserError, match="a caption has at least one word, but max_length is 0"):
        captioning(0)
    with pytest.raises(UserError, match="a beam holds at least one hypothesis, not 0"):
        beam_search(system, images(2), captioning(), width=0)
    with pytest.raises(UserError, match="a beam of 41 hypotheses begins with as many words, but there are 40"):
        beam_search(system, images(2), captioning(), width=41)
    with pytest.raises(UserError, match="vlp-pretraining masks words of captions, but the inputs have no text"):
        VlpPretraining(MASKING).prepare(Inputs(regions=images(2)), torch.Generator())


def test_boxes_may_be_read_alone() -> None:
    """Without a detector's classes, a box that was given is a certain one."""
    system = small(num_region_classes=0)
    bare = replace(given(False, False), regions=replace(regions_of(3, 2), classes=None))
    sure = replace(bare, regions=replace(bare.regions, objects=Detected(torch.zeros(5), torch.ones(5))))
    assert torch.equal(system(bare).pooled, system(sure).pooled)
    moved = replace(bare, regions=replace(bare.regions, boxes=bare.regions.boxes.flip(0)))
    assert not torch.equal(system(bare).pooled, system(moved).pooled)
