"""Translations are found by their vectors, in both directions."""

import pytest
import torch
import torch.nn.functional as F

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.data.sampler import seeded
from mm_kptm.errors import UserError
from mm_kptm.models.sentence_embedding import MeanAtDepth, first_state, mean_state
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.datasets import sources as number_world
from mm_kptm.suites.number_world.generator import parallel
from mm_kptm.tasks.metrics.similarity import centred, cosine, margin
from mm_kptm.tasks.text.sentence_retrieval import (
    ParallelSentences,
    SentenceVectorSettings,
    accuracy_by_pair,
    controls,
)


@pytest.fixture(scope="module")
def system():
    sizes = {"dim": 32, "num_heads": 2, "num_layers": 2, "ffn_dim": 64, "dropout": 0.0}
    return mm_kptm.build("bert", heads=(), seed=0, vocab_size=len(number_world.tokenizer()), **sizes)


@pytest.fixture(scope="module")
def source():
    return number_world.translations(parallel.corpus("test", 12, RandomStream(0), numbers=20), ("en", "de", "zh"))


@pytest.fixture(scope="module")
def texts():
    return Inputs(text=Tokens.of([[2, 9, 3], [2, 9, 8, 7, 3]]))


def test_vectors_are_means_and_firsts_of_the_final_states(system, texts):
    states = system(texts).text
    torch.testing.assert_close(mean_state(system, texts), torch.stack([states[:3].mean(0), states[3:].mean(0)]))
    torch.testing.assert_close(first_state(system, texts), states[[0, 3]])
    torch.testing.assert_close(MeanAtDepth(2)(system, texts), mean_state(system, texts))
    embedded = next(iter(system.hidden_states(texts))).x
    torch.testing.assert_close(MeanAtDepth(0)(system, texts)[0], embedded[:3].mean(0))


def test_a_depth_that_is_not_there_is_named(system, texts):
    with pytest.raises(UserError, match="the states after layer 3 were asked for, but bert-base has 2 layers"):
        MeanAtDepth(3)(system, texts)


@pytest.mark.parametrize("vectors", [mean_state, first_state, MeanAtDepth(0)])
def test_vectors_need_text(system, vectors):
    with pytest.raises(UserError, match="sentence vectors are made of text, but the inputs have none"):
        vectors(system, Inputs())


def test_controls_are_chance_and_the_nearest_length(source):
    """Against every pair, one by one: the nearest lengths, relative to the language, share the answer."""
    right = []
    pairs = [meaning.languages for meaning in source.meanings]
    for languages in set(pairs):
        among = [place for place, one in enumerate(pairs) if one == languages]
        left, other = ([int(side.lengths[place]) for place in among] for side in (source.left, source.right))
        for ours, theirs in ((left, other), (other, left)):
            for number, length in enumerate(ours):
                apart = [abs(length / sum(ours) - candidate / sum(theirs)) for candidate in theirs]
                nearest = [place for place, distance in enumerate(apart) if distance <= min(apart) + 1e-12]
                right.append((number in nearest) / len(nearest))
    found = controls(source)
    assert found == pytest.approx({"chance": 1 / 12, "length": sum(right) / len(right)})
    assert 0 < found["length"] < 1
    same = type(source)(source.left, source.left, source.meanings)
    assert controls(same)["length"] > found["length"]


def test_the_same_sentences_are_found(system, source):
    """A system maps equal texts to equal vectors, so each side finds itself."""
    same = type(source)(source.left, source.left, source.meanings)
    rows = ParallelSentences(system).predictions(same, batch_size=5)
    assert all(row["correct"] == 1 for row in rows)


def test_every_pair_is_searched_in_both_directions(system, source):
    task = ParallelSentences(system)
    rows = task.predictions(source, batch_size=5)
    assert len(rows) == 2 * len(source)
    by_pair = accuracy_by_pair(rows)
    assert list(by_pair) == ["de-en", "de-zh", "en-de", "en-zh", "zh-de", "zh-en"]
    batch = source.batch(range(12), seeded(0))  # en-de
    left, right = F.normalize(task(batch.left), dim=1), F.normalize(task(batch.right), dim=1)
    right_ones = (left @ right.T).argmax(1) == torch.arange(12)
    assert by_pair["en-de"] == pytest.approx(right_ones.double().mean().item())
    back = (left @ right.T).argmax(0) == torch.arange(12)
    assert by_pair["de-en"] == pytest.approx(back.double().mean().item())
    assert len({row["id"] for row in rows}) == len(rows)


def test_batches_do_not_change_what_is_found(system, source):
    task = ParallelSentences(system)
    assert task.predictions(source, batch_size=3) == task.predictions(source, batch_size=36)


def test_settings_choose_the_layer_and_the_similarity(system, source):
    """Each similarity finds what the whole matrix of scores does."""
    batch = source.batch(range(12), seeded(0))
    for name, likeness in (("cosine", cosine), ("centred", centred)):
        task = SentenceVectorSettings(layer=1, similarity=name).retriever(system)
        left, right = task(batch.left), task(batch.right)
        torch.testing.assert_close(left, MeanAtDepth(1)(system, batch.left))
        scores = likeness(left, right)
        found = [row["answer"] for row in task.predict(batch)]
        ids = [meaning.id for meaning in batch.meanings]
        expected = zip(scores.argmax(1).tolist(), scores.argmax(0).tolist(), strict=True)
        assert found == [ids[place] for pair in expected for place in pair]
    by_margin = SentenceVectorSettings(similarity="margin").retriever(system)
    assert by_margin.likeness is margin and len(by_margin.predict(batch)) == 24


def test_contrast_pulls_translations_together(source):
    sizes = {"dim": 32, "num_heads": 2, "num_layers": 1, "ffn_dim": 64, "dropout": 0.0}
    task = ParallelSentences(mm_kptm.build("bert", heads=(), seed=0, vocab_size=len(number_world.tokenizer()), **sizes))
    batch = source.batch(range(8), seeded(0))
    optimizer = torch.optim.AdamW(task.parameters(), lr=3e-3)
    before = task.measure(batch)["contrast"].mean()
    for _ in range(40):
        optimizer.zero_grad()
        task.loss(batch).backward()
        optimizer.step()
    assert task.measure(batch)["contrast"].mean() < 0.1 * before
    assert all(row["correct"] == 1 for row in task.predict(batch))


def test_the_margin_is_the_cosine_over_the_mean_of_its_neighbours():
    left, right = torch.randn(2, 5, 7, generator=torch.Generator().manual_seed(0)).unbind()
    cosines = cosine(left, right)
    near_left = [sorted(row.tolist())[-2:] for row in cosines]
    near_right = [sorted(row.tolist())[-2:] for row in cosines.T]
    expected = cosines[1, 3] / ((sum(near_left[1]) / 2 + sum(near_right[3]) / 2) / 2)
    torch.testing.assert_close(margin(left, right, neighbours=2)[1, 3], expected)


def test_the_margin_stops_a_sentence_that_is_near_to_all():
    """A hub has the highest cosine with everything; measured against its own neighbours it loses."""
    left = torch.tensor([[1.0, 0.3, 0.0], [0.0, 1.0, 0.3], [0.3, 0.0, 1.0]])
    hub = torch.tensor([1.0, 1.0, 1.0])
    right = torch.stack(
        [torch.tensor([1.0, 0.0, -1.0]), torch.tensor([-1.0, 1.0, 0.0]), torch.tensor([0.0, -1.0, 1.0]), hub]
    )
    assert (cosine(left, right).argmax(1) == 3).all()
    assert margin(left, right, neighbours=3).argmax(1).tolist() == [0, 1, 2]


def test_centring_takes_away_what_all_sentences_of_a_language_share():
    """Two languages that differ by one large vector: the cosine sees little else, centred it is gone."""
    meaning = torch.randn(6, 8, generator=torch.Generator().manual_seed(0))
    language = torch.full((8,), 50.0)
    torch.testing.assert_close(centred(meaning, meaning + language), centred(meaning, meaning))
    assert centred(meaning, meaning + language).argmax(1).tolist() == list(range(6))
