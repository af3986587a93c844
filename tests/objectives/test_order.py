"""Parts of texts change places, and the pooled state has to say so."""

import math
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
import torch.nn.functional as F

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.objectives.order import PairClassification, SentenceOrder, SentenceReordering, reordered
from mm_kptm.systems.system import System

CLS, SEP = 1, 2


def generator(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def pairs(count: int) -> Inputs:
    """First parts of words 10 to 19, second ones of 20 to 29, their lengths drawn."""
    draw, ids, segments = generator(3), [], []
    for _ in range(count):
        one, other = torch.randint(2, 6, (2,), generator=draw).tolist()
        parts = [torch.randint(low, low + 10, (n,), generator=draw).tolist() for low, n in ((10, one), (20, other))]
        ids.append([CLS, *parts[0], SEP, *parts[1], SEP])
        segments.append([0] * (one + 2) + [1] * (other + 1))
    marks = {"place": torch.cat([torch.arange(len(one)) for one in ids])}
    text = Tokens.of(ids, segments=segments, mask_groups=[range(len(one)) for one in ids])
    return Inputs(text=Tokens(**{**vars(text), "token_labels": marks}))


@pytest.fixture
def system() -> System:
    sizes = {"dim": 32, "num_heads": 2, "num_layers": 2, "ffn_dim": 64, "vocab_size": 60, "max_positions": 32}
    return mm_kptm.build("macbert-base-chinese", seed=0, heads=["sentence-order"], dropout=0.0, **sizes)


def test_swapped_parts_are_framed_as_others_are() -> None:
    inputs = pairs(40)
    batch = SentenceOrder().prepare(inputs, generator())
    moved = batch.inputs.text
    assert torch.equal(moved.positions, inputs.text.positions)
    for swapped, before, after, segments, places in zip(
        batch.classes.tolist(),
        inputs.text.layout.split(inputs.text.ids),
        moved.layout.split(moved.ids),
        moved.layout.split(moved.segments),
        moved.layout.split(moved.token_labels["place"]),
        strict=True,
    ):
        first, second = ([word for word in before.tolist() if word // 10 == ten] for ten in (1, 2))
        one, other = (second, first) if swapped else (first, second)
        assert after.tolist() == [CLS, *one, SEP, *other, SEP]
        assert segments.tolist() == [0] * (len(one) + 2) + [1] * (len(other) + 1)
        assert torch.equal(before[places], after)


def test_half_of_the_pairs_are_swapped() -> None:
    classes = SentenceOrder().prepare(pairs(1000), generator()).classes
    assert abs(classes.float().mean() - 0.5) < 4 * math.sqrt(0.25 / 1000)


def test_the_loss_is_that_of_the_pooled_state(system: System) -> None:
    objective = SentenceOrder()
    batch = objective.prepare(pairs(6), generator())
    scores = system.head("sentence-order")(system(batch.inputs).pooled)
    expected = F.cross_entropy(scores, batch.classes, reduction="none")
    torch.testing.assert_close(objective.measure(system, batch), expected)
    torch.testing.assert_close(objective.loss(system, batch), expected.mean())


def test_order_is_learnt_for_pairs_never_seen(system: System) -> None:
    objective, optimizer = SentenceOrder(), torch.optim.AdamW(system.train().parameters(), lr=3e-3)
    inputs = pairs(32)
    for step in range(80):
        optimizer.zero_grad()
        objective.loss(system, objective.prepare(inputs, generator(step))).backward()
        optimizer.step()
    assert objective.loss(system, objective.prepare(pairs(60), generator(99))) < 0.1


def test_one_part_cannot_be_swapped() -> None:
    message = r"^sentence-order swaps two parts of a text, but text 1 has one; give pairs of texts$"
    text = Tokens.of([[CLS, 5, SEP, 6, SEP], [CLS, 5, SEP]], segments=[[0, 0, 0, 1, 1], [0, 0, 0]])
    with pytest.raises(UserError, match=message):
        SentenceOrder().prepare(Inputs(text=text), generator())
    with pytest.raises(UserError, match=r"^sentence-order swaps the parts of a text, but the inputs have none$"):
        SentenceOrder().prepare(Inputs(), generator())


def test_what_belongs_to_a_row_moves_with_it() -> None:
    tokens = Tokens.of([[5, 6, 7]], languages=[[0, 1, 2]], mask_groups=[[0, 0, 1]], segments=[[0, 0, 1]])
    moved = reordered(tokens, torch.tensor([2, 0, 1]))
    assert (moved.ids.tolist(), moved.languages.tolist(), moved.mask_groups.tolist()) == (
        [7, 5, 6],
        [2, 0, 1],
        [1, 0, 0],
    )
    assert (moved.positions.tolist(), moved.segments.tolist()) == ([0, 1, 2], [0, 0, 1])


def paragraphs(count: int, sentences: int = 5) -> Inputs:
    """Sentence n has two or three words n + 10; what they say of themselves tells their order."""
    draw, ids, marks = generator(5), [], []
    for _ in range(count):
        lengths = torch.randint(2, 4, (sentences,), generator=draw).tolist()
        numbers = [number for number, length in enumerate(lengths) for _ in range(length)]
        ids.append([CLS, *(number + 10 for number in numbers), SEP])
        marks += [-1, *numbers, -1]
    return Inputs(text=replace(Tokens.of(ids), token_labels={"sentence": torch.tensor(marks)}))


def test_segments_change_places_and_sentences_stay_whole() -> None:
    """From the class and the text as it is shown follows the text as it was."""
    inputs, objective = paragraphs(200), SentenceReordering()
    batch = objective.prepare(inputs, generator())
    assert len(objective.orders) == 9
    for number, before, after in zip(
        batch.classes.tolist(),
        inputs.text.layout.split(inputs.text.ids),
        batch.inputs.text.layout.split(batch.inputs.text.ids),
        strict=True,
    ):
        shown = after.tolist()
        assert (shown[0], shown[-1]) == (CLS, SEP) and sorted(shown) == sorted(before.tolist())
        sentences = [word - 10 for word in shown[1:-1]]
        seen = breaks(sentences, lambda one, other: other in (one, one + 1))
        drawn = breaks(objective.orders[number], lambda one, other: other == one + 1)
        assert ranks(seen) == ranks(drawn)


def breaks(numbers: Sequence[int], goes_on: Callable[[int, int], bool]) -> list[int]:
    """The first number, and every one that does not go on from the one before."""
    return [numbers[0], *(other for one, other in pairwise(numbers) if not goes_on(one, other))]


def ranks(numbers: list[int]) -> list[int]:
    return [sorted(numbers).index(number) for number in numbers]


def test_numbers_of_segments_and_their_orders_are_as_likely() -> None:
    orders = SentenceReordering().orders
    found = Counter(SentenceReordering().prepare(paragraphs(3000), generator()).classes.tolist())
    for number, order in enumerate(orders):
        share = 1 / 3 / math.factorial(len(order))
        assert abs(found[number] / 3000 - share) < 4 * math.sqrt(share / 3000)


def test_a_paragraph_of_one_sentence_has_one_order() -> None:
    assert SentenceReordering().prepare(paragraphs(20, sentences=1), generator()).classes.tolist() == [0] * 20


def test_reordering_is_learnt() -> None:
    """Every paragraph begins with a word of its own: the orders of one, two and three that move nothing look alike."""
    sizes = {"dim": 32, "num_heads": 2, "num_layers": 2, "ffn_dim": 64, "vocab_size": 60, "max_positions": 32}
    system = mm_kptm.build("ernie2", seed=0, heads=["sentence-reordering"], dropout=0.0, **sizes).train()
    text = paragraphs(24, 3).text
    own = text.ids.index_copy(0, text.layout.starts(text.ids.device), torch.arange(20, 44))
    batch = SentenceReordering().prepare(Inputs(text=replace(text, ids=own)), generator())
    optimizer = torch.optim.AdamW(system.parameters(), lr=5e-3)
    for _ in range(100):
        optimizer.zero_grad()
        loss = SentenceReordering().loss(system, batch)
        loss.backward()
        optimizer.step()
    assert len(batch.classes.unique()) > 5 and loss < 0.1


def test_a_class_is_the_mark_of_the_first_row() -> None:
    text = replace(Tokens.of([[CLS, 5], [CLS, 6, 7]]), token_labels={"ir-relevance": torch.tensor([2, 2, 0, 0, 0])})
    assert PairClassification("ir-relevance").prepare(Inputs(text=text), generator()).classes.tolist() == [2, 0]
    assert PairClassification("discourse-relation", 5).sizes == {"num_classes": 5}


@pytest.mark.parametrize("objective", [SentenceReordering(), PairClassification("sentence-distance")])
def test_what_is_not_marked_cannot_be_asked(objective: SentenceReordering | PairClassification) -> None:
    mark = "sentence" if isinstance(objective, SentenceReordering) else objective.name
    message = rf"^{objective.name} reads token labels {mark}, but the inputs have none; take data with them, such as"
    for inputs in (Inputs(), Inputs(text=Tokens.of([[CLS]]))):
        with pytest.raises(UserError, match=message):
            objective.prepare(inputs, generator())
