"""What the peers that were written for the benchmarks compute is what our parts compute."""

import random

import pytest
import torch

from benchmarks.cases.g04_sentence_trees import nbytes
from benchmarks.encoders import Comparison, Encoder, Part, whole
from benchmarks.harness import OURS, PEER, Unequal
from benchmarks.peers import hf, uer
from benchmarks.peers.sentence_trees import by_loops, by_numbers
from benchmarks.run import cases
from benchmarks.sentences import VOCABULARY, Lexicon, spelling
from mm_kptm.batch import EVERY_ROW, Inputs, OutputRows, pad
from mm_kptm.knowledge.injection.sentence_tree import TreeBuilder, Trees, cut

SIZES = {"dim": 16, "num_heads": 2, "num_layers": 2, "vocab_size": VOCABULARY}


@pytest.fixture(scope="module")
def lexicon() -> Lexicon:
    return Lexicon.draw(500, 0.3, random.Random(0))


def build_trees(lexicon: Lexicon, lengths: list[int], limit: int = 128) -> tuple[Trees, list[list[str]]]:
    draw = random.Random(1)
    sentences = [lexicon.sentence(length, 2, draw) for length in lengths]
    return TreeBuilder(spelling, lexicon.facts.get, max_length=limit, fit=cut)(sentences), sentences


def test_a_sentence_has_the_tokens_that_were_asked_for(lexicon: Lexicon) -> None:
    trees, sentences = build_trees(lexicon, [1, 9, 44, 90])
    assert trees.layout.lengths == (1, 9, 44, 90) and sentences[0] == ["[CLS]"]
    assert trees.branches.any()


@pytest.mark.parametrize("length", [20, 64])
def test_loops_numbers_and_ours_grow_one_tree(lexicon: Lexicon, length: int) -> None:
    """Where the flat tree is cut, too."""
    trees, sentences = build_trees(lexicon, [5, 30, 44], limit=length)
    mask = trees.mask
    assert mask is not None
    rows = trees.layout.split(torch.arange(trees.layout.total))
    for words, own in zip(sentences, rows, strict=True):
        slow, fast = (
            construct(words, spelling, lexicon.facts.get, max_facts=2, length=length)
            for construct in (by_loops, by_numbers)
        )
        n = len(own)
        assert slow.length == fast.length == n and (slow.visible == fast.visible).all()
        assert slow.ids == fast.ids == trees.ids[own].tolist() + [0] * (length - n)
        assert slow.positions == fast.positions == trees.positions[own].tolist() + [length - 1] * (length - n)
        cells = torch.from_numpy(slow.visible).bool()
        assert torch.equal(cells[:n, :n], mask.mask_mod(own[:, None], own[None, :]))
        assert not cells[n:].any() and not cells[:, n:].any()


def comparison(lexicon: Lexicon, *, spoilt: float = 0.0) -> Comparison:
    trees, _ = build_trees(lexicon, [7, 12, 12, 30])
    torch.manual_seed(0)
    theirs = uer.Encoder(**SIZES, max_positions=64)
    ours = hf.ours_of(theirs, "kbert", [], **SIZES, ffn_dim=64, dropout=0.0).train()
    if spoilt:
        ours.encoder.layers[1].ffn.up_proj.bias.data.add_(spoilt)
    inputs, output_rows = Inputs(text=trees.tokens(first_segment=1)), OutputRows({"text": EVERY_ROW}, pooled=False)

    def part(chosen: list[int]) -> Part:
        taken = trees.take(torch.tensor(chosen))
        layout, mask = taken.layout, taken.mask
        real = pad(torch.ones(layout.total, dtype=torch.bool), layout)
        visible = torch.zeros(*real.shape, real.shape[1])
        for matrix, own in zip(visible, layout.split(torch.arange(layout.total)), strict=True):
            seen = torch.ones(len(own), len(own)) if mask is None else mask.mask_mod(own[:, None], own[None, :])
            matrix[: len(own), : len(own)] = seen
        given = pad(taken.ids.long(), layout), pad(taken.positions.long(), layout), real.long(), visible
        numbers = trees.layout.select(torch.tensor(chosen))[1]
        return Part(lambda: theirs(*given), real.flatten().nonzero().squeeze(1), numbers)

    word = theirs.embedding.word_embedding
    return Comparison(
        name="toy",
        title="a toy",
        unit="sentences",
        work=4.0,
        encoders={
            PEER: Encoder(theirs, word, [part([2, 0, 3, 1])]),
            "careful peer": Encoder(theirs, word, [part([0, 1]), part([3, 2])]),
            OURS: whole(ours, ours.encoder.embed.text.word, lambda: ours(inputs, output_rows).text, trees.layout.total),
        },
        sizes={},
    )


def test_the_dense_form_of_kbert_is_ours_in_states_and_gradients(lexicon: Lexicon) -> None:
    """However the sentences are ordered and divided among batches."""
    forward, training = comparison(lexicon).cases(seed=0)
    assert forward.check().keys() == {"states of careful peer", "states of ours"}
    assert len(training.check()) == 6
    for case in (forward, training):
        assert {variant() for variant in case.variants.values()} == {4.0}


def test_another_model_is_no_match(lexicon: Lexicon) -> None:
    forward, training = comparison(lexicon, spoilt=0.01).cases(seed=0)
    with pytest.raises(Unequal, match=r"^toy: states of ours differs by .* from the peer, more than 1e-05$"):
        forward.check()
    with pytest.raises(Unequal, match=r"^toy: (states|gradient of words|size of all gradients) of ours differs"):
        training.check()


def test_a_file_may_hold_several_cases(lexicon: Lexicon) -> None:
    made = comparison(lexicon).cases(seed=0)

    class File:
        def __init__(self, built: object) -> None:
            self.build = lambda seed: built

    assert cases(File(made)) == made  # type: ignore[arg-type]
    assert cases(File(made[0])) == made[:1]  # type: ignore[arg-type]


def test_a_tree_is_bytes_not_a_matrix(lexicon: Lexicon) -> None:
    """Nine bytes a token: a sentence of 44 in half a kilobyte, and one of 4,096 in 36."""
    short, _ = build_trees(lexicon, [44] * 8)
    assert nbytes(short) == 8 * 44 * 9 <= 8 * 512
    long, _ = build_trees(lexicon, [4096], limit=4096)
    assert long.layout.lengths == (4096,) and nbytes(long) == 4096 * 9
