"""What is written is what transformers writes at random weights, whatever is forced, refused or drawn."""

from itertools import product
from pathlib import Path

import pytest
import torch

from mm_kptm.batch import Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.models.decoding import Decoding, Request, generate
from mm_kptm.models.score_filters import NoRepeatedNgrams, TopK, TopP
from tests.crosslingual.recipes.test_mbart import CODE, LONGEST, STOP, both, source
from tests.models.test_generation import STOP as CLOSES
from tests.models.test_generation import TEXTS, VOCABULARY, scores, sources, writer

transformers = pytest.importorskip("transformers")

PREFIXES = [(CODE, 5, 6), (CODE,), (CODE, 7)]
BAD_WORDS = [(9,), (11, 12), (4,)]
BEAM = {"method": "beam", "beam_size": 3, "max_length": LONGEST}


def texts_of(generated: torch.Tensor) -> list[list[int]]:
    """Generated rows without what stands behind their stop token."""
    rows = []
    for row in generated.tolist():
        end = row.index(STOP, 1) + 1 if STOP in row[1:] else len(row)
        rows.append(row[:end])
    return rows


@pytest.mark.parametrize("method", ["greedy", "beam"])
@pytest.mark.parametrize("seed", range(3))
def test_ragged_prefixes_are_continued_as_each_alone(method: str, seed: int, tmp_path: Path) -> None:
    theirs, ours = both(tmp_path, seed=seed, init_std=0.2)
    ids, real = source()
    expected = []
    for row, prefix in enumerate(PREFIXES):
        asked = {"input_ids": ids[row : row + 1], "attention_mask": real[row : row + 1].long()}
        found = theirs.generate(
            **asked,
            decoder_input_ids=torch.tensor([prefix]),
            max_length=LONGEST,
            forced_eos_token_id=STOP,
            num_beams=3 if method == "beam" else 1,
            do_sample=False,
        )
        expected += texts_of(found)
    how = Decoding(**BEAM) if method == "beam" else Decoding(max_length=LONGEST)
    inputs = Inputs(text=Tokens.padded(ids, real))
    assert generate(ours, inputs, Request(CODE, STOP, prefixes=PREFIXES), how) == expected


@pytest.mark.parametrize("method", ["greedy", "beam"])
@pytest.mark.parametrize("seed", range(3))
def test_refused_words_and_lengths_are_those_of_transformers(method: str, seed: int, tmp_path: Path) -> None:
    theirs, ours = both(tmp_path, seed=seed, init_std=0.2)
    ids, real = source()
    expected = theirs.generate(
        input_ids=ids,
        attention_mask=real.long(),
        decoder_start_token_id=CODE,
        max_length=LONGEST,
        min_length=5,
        no_repeat_ngram_size=2,
        bad_words_ids=[list(word) for word in BAD_WORDS],
        forced_eos_token_id=STOP,
        forced_bos_token_id=21,
        num_beams=3 if method == "beam" else 1,
        do_sample=False,
    )
    how = Decoding(method=method, beam_size=3, max_length=LONGEST, min_length=5, no_repeat_ngram=2)
    inputs = Inputs(text=Tokens.padded(ids, real))
    found = generate(ours, inputs, Request(CODE, STOP, first=21, bad_words=BAD_WORDS), how)
    assert found == texts_of(expected)
    assert all(text[1] == 21 for text in found)


@pytest.mark.parametrize(("count", "mass"), [(5, 1.0), (0, 0.7), (8, 0.4)])
def test_draws_are_among_the_tokens_that_transformers_leaves(count: int, mass: float) -> None:
    logits = torch.randn(6, 40, generator=torch.Generator().manual_seed(0)) * 2
    ours = theirs = logits
    if count:
        ours = TopK(count)(ours, [], [])
        theirs = transformers.generation.TopKLogitsWarper(count)(None, theirs)
    if mass < 1:
        ours = TopP(mass)(ours, [], [])
        theirs = transformers.generation.TopPLogitsWarper(mass)(None, theirs)
    torch.testing.assert_close(ours, theirs)


def test_sampling_follows_its_seed_and_the_likelihoods() -> None:
    system = writer()
    many = sources([TEXTS[0]] * 4000)
    found = generate(system, many, Request(CLOSES, CLOSES, 1), Decoding("sample", max_length=3, temperature=0.7))
    likely = (scores(system, TEXTS[0], [CLOSES])[0] / 0.7).softmax(-1)
    drawn = torch.tensor([text[1] for text in found]).bincount(minlength=VOCABULARY) / len(found)
    assert (drawn - likely).abs().max() < 0.03
    few = sources()
    once, again, other = (
        generate(system, few, Request(CLOSES, CLOSES, 1), Decoding("sample", max_length=9, seed=seed))
        for seed in (1, 1, 2)
    )
    assert once == again and once != other
    cold = Decoding("sample", max_length=6, temperature=1e-4)
    assert generate(system, few, Request(CLOSES, CLOSES, 1), cold) == generate(
        system, few, Request(CLOSES, CLOSES, 1), Decoding(max_length=6)
    )


def test_fairseqs_search_scores_the_stop_token_that_it_forces() -> None:
    """A beam as wide as all texts finds the best; one that is cut ends in its stop token at its own likelihood."""
    system, max_length = writer(), 4
    how = Decoding("beam", 150, "fairseq", length_penalty=1.0, max_length=max_length)
    found = generate(system, sources(), Request(CLOSES, CLOSES, 1), how)
    words = [word for word in range(VOCABULARY) if word != CLOSES]
    for text, best_text in zip(TEXTS, found, strict=True):
        best: dict[tuple[int, ...], float] = {}
        for length in range(max_length - 1):
            for inner in product(words, repeat=length):
                rows = scores(system, text, [CLOSES, *inner])
                total = sum(rows[place, word].item() for place, word in enumerate((*inner, CLOSES)))
                best[(CLOSES, *inner, CLOSES)] = total / (length + 1)
        assert tuple(best_text) == max(best, key=best.__getitem__)


def test_no_ngram_stands_twice() -> None:
    scores = torch.zeros(2, 6)
    kept = NoRepeatedNgrams(3)(scores, [[1, 2, 3, 1, 2], [1, 2, 3, 2, 1]], [0, 1])
    assert kept[0].tolist() == [0, 0, 0, float("-inf"), 0, 0] and not kept[1].isinf().any()


def test_settings_that_no_search_takes_are_refused() -> None:
    for settings, sentence in (
        ({"method": "best"}, r"^texts are written by greedy, beam, sample, not by 'best'$"),
        ({"temperature": 0.0}, r"^a temperature is above 0, not 0.0; take greedy search in place of 0$"),
        ({"top_p": 1.5}, r"^a draw is among tokens of a probability above 0 and up to 1, not 1.5$"),
        ({"beam_size": 0}, r"^a beam holds at least one hypothesis, not 0$"),
        ({"max_length": 4, "min_length": 9}, r"^max_length is 4 and min_length 9; a text has two tokens at least"),
    ):
        with pytest.raises(UserError, match=sentence):
            Decoding(**settings)
    everything = [(word,) for word in range(VOCABULARY)]
    with pytest.raises(UserError, match=r"^every next token of a text is refused, so that it cannot go on; allow its"):
        generate(writer(), sources(), Request(CLOSES, CLOSES, 1, bad_words=everything), Decoding())
    with pytest.raises(UserError, match=r"^3 texts are to be written, but there are 1 prefixes; give one for each$"):
        asked = Request(CLOSES, CLOSES, 1, prefixes=[(CLOSES,)])
        generate(writer(), sources(), asked, Decoding("beam"))


@pytest.mark.parametrize("family", ["hugging-face", "fairseq", "xlm"])
def test_a_text_that_must_be_as_long_as_it_may_be_is_written(family: str) -> None:
    how = Decoding("beam", 3, family, max_length=5, min_length=5)
    found = generate(writer(), sources(), Request(CLOSES, CLOSES, 1), how)
    assert [len(text) for text in found] == [5] * len(TEXTS) and all(text[-1] == CLOSES for text in found)


@pytest.mark.parametrize("family", ["hugging-face", "fairseq", "xlm"])
def test_a_hypothesis_that_cannot_go_on_leaves_the_beam_to_the_others(family: str) -> None:
    words = [word for word in range(VOCABULARY) if word != CLOSES]
    dead, *others = words
    refused = [(dead, word) for word in range(VOCABULARY)]
    how = Decoding("beam", 6, family, max_length=4)
    found = generate(writer(), sources(), Request(CLOSES, CLOSES, 1, bad_words=refused), how)
    inner = [word for text in found for word in text[1:-2]]
    assert dead not in inner and set(inner) <= set(others)
    stuck = Request(CLOSES, CLOSES, 1, bad_words=[(word,) for word in range(VOCABULARY)])
    with pytest.raises(UserError, match=r"^every next token of a text is refused, so that it cannot go on; allow its"):
        generate(writer(), sources(), stuck, how)


@pytest.mark.parametrize("method", ["greedy", "beam", "sample"])
def test_a_beginning_leaves_a_place_for_the_last_token(method: str) -> None:
    asked = Request(CLOSES, CLOSES, 1, prefixes=[(CLOSES, 2, 3)] * len(TEXTS))
    with pytest.raises(UserError, match=r"^a text is to begin with 3 tokens, .* but max_length is 3; it must be 4 at"):
        generate(writer(), sources(), asked, Decoding(method, 2, max_length=3))
    found = generate(writer(), sources(), asked, Decoding(method, 2, max_length=4))
    assert found == [[CLOSES, 2, 3, CLOSES]] * len(TEXTS)
