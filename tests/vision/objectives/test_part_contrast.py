"""Parts of texts that come from elsewhere."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.nn.visibility import Causal
from mm_kptm.objectives.tokens import Masking
from mm_kptm.systems.system import System
from mm_kptm.vision.objectives.part_contrast import Part, PartContrast, SentenceImagePrediction, TagContrast, assembled
from tests.vision.conftest import REGION_DIM, regions_of

NOTHING = Masking(mask_id=1, pool=(5, 40), never=frozenset(range(40)))
ALL = Masking(mask_id=1, pool=(5, 40), never=frozenset({2, 3}), mask_share=1.0)
#: [CLS] two words [SEP], one or two tags [SEP]; every number tells whose it is
TEXTS = [[2, 10, 11, 3, 12, 3], [2, 20, 21, 3, 22, 23, 3], [2, 30, 31, 3, 32, 3]]
SEGMENTS = [[0] * 4 + [1] * (len(ids) - 4) for ids in TEXTS]


def texts(copies: int = 1) -> Inputs:
    text = Tokens.of(TEXTS * copies, segments=SEGMENTS * copies)
    return Inputs(text=text, regions=regions_of(*[2, 3, 1] * copies))


def small(name: str, **heads: dict[str, int]) -> System:
    sizes = {"dim": 16, "num_heads": 2, "num_layers": 2, "ffn_dim": 32, "vocab_size": 40, "max_positions": 20}
    chosen = {head.replace("_", "-"): heads[head] for head in heads}
    return mm_kptm.build(name, heads=chosen, seed=3, **sizes, region_dim=REGION_DIM, dropout=0.0)


def lists(tokens: Tokens) -> list[list[int]]:
    return [ids.tolist() for ids in tokens.layout.split(tokens.ids)]


def test_texts_are_put_together_of_two_parts() -> None:
    text = replace(texts().text, token_labels={"place": torch.arange(19)})
    mixed = assembled(text, [Part(0, 0), Part(2, 0), Part(1, 0)], [Part(1, 1), Part(1, 1), Part(0, 0)])
    assert lists(mixed) == [[2, 10, 11, 3, 22, 23, 3], [2, 30, 31, 3, 22, 23, 3], [2, 20, 21, 3, 10, 11, 3]]
    assert mixed.segments.tolist() == [0] * 4 + [1] * 3 + [0] * 4 + [1] * 3 + [0] * 4 + [1] * 3
    assert mixed.positions.tolist() == [*range(7)] * 3
    assert mixed.token_labels["place"].tolist()[:7] == [0, 1, 2, 3, 10, 11, 12]


def test_words_that_two_texts_took_from_one_are_hidden_apart() -> None:
    units = torch.tensor([-1, 0, 0, -1, 1, -1, -1, 2, 3, -1, 4, 4, -1, -1, 5, 6, -1, 7, -1])
    mixed = assembled(replace(texts().text, mask_groups=units), [Part(0, 0), Part(2, 0)], [Part(1, 1), Part(1, 1)])
    first, second = mixed.mask_groups[:7].tolist(), mixed.mask_groups[7:].tolist()
    assert first[4] == first[5] and second[4] == second[5] and first[1] == first[2]
    assert not (set(first) & set(second)) - {-1}


@pytest.mark.parametrize(
    ("objective", "shares"),
    [
        (SentenceImagePrediction(NOTHING), {1: 0.5, 0: 0.5}),
        (TagContrast(NOTHING), {0: 0.5, 1: 0.5}),
        (TagContrast.plus(NOTHING), {0: 0.5, 1: 0.25, 2: 0.25}),
    ],
    ids=["visualbert", "oscar", "oscar-plus"],
)
def test_classes_say_what_was_exchanged(objective: PartContrast, shares: dict[int, float]) -> None:
    """In 900 texts the shares lie within 0.06 (more than three standard deviations) of the published ones."""
    given = texts(300)
    batch = objective.prepare(given, torch.Generator().manual_seed(0))
    right = objective.right
    assert set(batch.classes.tolist()) == shares.keys()
    for cls, share in shares.items():
        assert abs(float((batch.classes == cls).float().mean()) - share) < 0.06
    for number, (ids, cls) in enumerate(zip(lists(batch.inputs.text), batch.classes.tolist(), strict=True)):
        own = TEXTS[number % 3]
        if cls == right:
            assert ids == own
        elif cls == objective.first_wrong and objective.first_wrong != objective.second_wrong:
            assert ids[4:] == own[4:]
        else:
            assert ids[:4] == own[:4]
    assert batch.inputs.regions is given.regions


def test_wrong_tags_of_oscar_may_be_a_caption_and_those_of_oscar_plus_may_not() -> None:
    for objective, captions in ((TagContrast(NOTHING), True), (TagContrast.plus(NOTHING), False)):
        batch = objective.prepare(texts(100), torch.Generator().manual_seed(1))
        seconds = [ids[4:] for ids in lists(batch.inputs.text)]
        assert any(10 * (ids[0] // 10) == ids[0] for ids in seconds) == captions
        assert all(2 not in ids for ids in seconds), "a caption leaves its [CLS] behind"


def test_texts_about_one_image_are_never_wrong_for_each_other() -> None:
    given = replace(texts(), image_of=torch.tensor([0, 0, 0]), regions=regions_of(2))
    batch = TagContrast(NOTHING, wrong_second=1.0).prepare(given, torch.Generator().manual_seed(0))
    assert batch.classes.tolist() == [0, 0, 0] and lists(batch.inputs.text) == TEXTS


def test_hidden_tokens_of_wrong_tags_may_be_left_out() -> None:
    everything = replace(ALL, policy=lambda draws, may, layout: may)
    for masks_wrong in (True, False):
        objective = TagContrast(everything, wrong_second=1.0, lines=(1,), masks_wrong=masks_wrong)
        batch = objective.prepare(texts(), torch.Generator().manual_seed(0))
        assert batch.classes.tolist() == [1, 1, 1]
        asked = batch.inputs.text.segments[batch.rows]
        assert (asked == 1).any() == masks_wrong and int((asked == 0).sum()) == 6
        assert len(batch.rows) == len(batch.labels) == len(batch.sequence_ids)


@pytest.mark.parametrize(
    ("system", "objective", "classes"),
    [
        ("visualbert", SentenceImagePrediction(ALL), 2),
        ("oscar", TagContrast(ALL), 2),
        ("oscar-plus", TagContrast.plus(ALL), 3),
    ],
)
def test_a_system_learns_both_at_once(system: str, objective: PartContrast, classes: int) -> None:
    """Masked tokens and classes of six texts are known by heart after a hundred steps."""
    name = objective.head.replace("-", "_")
    ours = small(system, masked_tokens={}, **{name: {"num_classes": classes}})
    batch = objective.prepare(texts(2), torch.Generator().manual_seed(2))
    assert objective.measure(ours, batch).shape == (6,)
    optimiser = torch.optim.Adam(ours.parameters(), lr=1e-2)
    for _ in range(100):
        optimiser.zero_grad()
        objective.loss(ours, batch).backward()
        optimiser.step()
    words, pairs = objective.losses(ours, batch)
    assert words.max() < 0.5 and pairs.max() < 0.5
    torch.testing.assert_close(objective.loss(ours, batch), words.mean() + pairs.mean())


def test_texts_that_hide_from_themselves_are_refused() -> None:
    masked = replace(texts(), text=replace(texts().text, attention_mask=Causal()))
    with pytest.raises(UserError, match="parts of texts cannot be exchanged under an attention mask; give"):
        TagContrast(NOTHING).prepare(masked, torch.Generator())
    with pytest.raises(UserError, match="tag-contrast exchanges parts of texts, but the inputs have none"):
        TagContrast(NOTHING).prepare(Inputs(regions=regions_of(2)), torch.Generator())
