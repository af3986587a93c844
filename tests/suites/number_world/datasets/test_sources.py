"""Number World reaches a model as it was drawn, and its null arms take away what they say."""

import time

import numpy as np
import pytest
import torch

from mm_kptm.crosslingual.corpora.bitext import every_pair, translations
from mm_kptm.data.sampler import seeded
from mm_kptm.errors import UserError
from mm_kptm.random_streams import RandomStream
from mm_kptm.suites.number_world.datasets import sources as number_world
from mm_kptm.suites.number_world.generator import captions as describing
from mm_kptm.suites.number_world.generator import knowledge, parallel
from mm_kptm.suites.number_world.generator import questions as asking
from mm_kptm.suites.number_world.generator.facts import draw_fixed
from mm_kptm.suites.number_world.generator.language import SPECIALS, vocabulary, words
from mm_kptm.suites.number_world.generator.numerals import LANGUAGES
from mm_kptm.suites.number_world.generator.splits import part


@pytest.fixture(scope="module")
def asked():
    return asking.generate(part("iid", "train"), 30, RandomStream(0), numbers=20)


def spelt(ids):
    return [vocabulary().words[place] for place in ids.tolist()]


def test_a_question_is_its_words_between_two_markers(asked, answers):
    scenes, questions = asked
    batch = number_world.questions(scenes, questions, answers).batch([4, 9], seeded(0))
    text = batch.inputs.text
    for place, index in enumerate((4, 9)):
        ids = list(text.layout.split(text.ids))[place]
        assert spelt(ids) == ["[CLS]", *questions[index].words, "[SEP]"]
        assert answers[batch.scores[place].argmax()] == questions[index].answer.label
        assert batch.scores[place].sum() == 1
    assert text.languages.tolist()[0] == LANGUAGES.index(questions[4].language)


def test_the_regions_are_the_crops_of_the_scene(asked, answers):
    scenes, questions = asked
    regions = number_world.questions(scenes, questions, answers).batch([4, 9], seeded(0)).inputs.regions
    np.testing.assert_allclose(regions.features, scenes.features([4, 9]), rtol=1e-6)
    np.testing.assert_allclose(regions.boxes, scenes.fractions([4, 9]))
    assert regions.layout.lengths == (len(scenes.things(4)), len(scenes.things(9)))


def test_the_length_of_a_question_counts_words_and_regions(asked, answers):
    scenes, questions = asked
    source = number_world.questions(scenes, questions, answers)
    for index in range(5):
        assert source.length(index) == 2 + len(questions[index].words) + len(scenes.things(index))


def test_blank_pictures_tell_nothing_and_are_held_once(asked, answers):
    scenes, questions = asked
    inputs = number_world.questions(scenes, questions, answers, vision="blank").batch(range(30), seeded(0)).inputs
    assert inputs.regions.layout.lengths == (1,)
    assert not inputs.regions.features.any()
    assert inputs.image_of.tolist() == [0] * 30


def test_shuffled_pictures_are_all_shown_and_none_to_its_own_question(asked, answers):
    scenes, questions = asked
    shuffled = number_world.questions(scenes, questions, answers, vision="shuffled", draw=RandomStream(3))
    assert sorted(shuffled.shown.about) == list(range(30))
    assert all(place != scene for place, scene in enumerate(shuffled.shown.about))
    again = number_world.questions(scenes, questions, answers, vision="shuffled", draw=RandomStream(3))
    assert (again.shown.about == shuffled.shown.about).all()
    with pytest.raises(
        UserError, match="shuffled pictures were asked for; they need a draw and at least two questions"
    ):
        number_world.questions(scenes, questions, answers, vision="shuffled")


def test_an_answer_beyond_the_choices_is_named(asked):
    scenes, questions = asked
    with pytest.raises(UserError, match=r"question vqa-.* is answered by '.*', which is not among the 1 answers"):
        number_world.questions(scenes, questions, ["nothing"])


def test_a_scene_described_in_five_languages_is_held_once():
    scenes, described = describing.captions(part("iid", "train"), 4, RandomStream(0), numbers=20)
    source = number_world.captions(scenes, described)
    inputs = source.batch([5, 6, 12, 7], seeded(0))  # three languages of scene 1, one of scene 2
    assert len(source) == 20
    assert len(inputs.regions.layout) == 2
    assert inputs.image_of.tolist() == [0, 0, 1, 0]
    assert spelt(inputs.text.ids)[1 : 1 + len(described[1].sentences["en"].words)] == list(
        described[1].sentences["en"].words
    )


def test_translations_of_a_corpus_pair_every_two_languages():
    corpus = parallel.corpus("train", 6, RandomStream(0), numbers=20)
    texts = translations(every_pair(number_world.meanings(corpus)), number_world.specials())
    assert len(texts) == 6 * 20
    source = number_world.translations(corpus, ("en", "de", "zh"))
    assert [meaning.languages for meaning in source.meanings[::6]] == [("en", "de"), ("en", "zh"), ("de", "zh")]
    batch = source.batch([7], seeded(0))
    assert spelt(batch.right.text.ids)[1:-1] == list(corpus[1].sentences["zh"].words)


def test_typed_text_is_cut_as_the_world_cuts_its_own():
    tokenizer = number_world.tokenizer()
    assert tokenizer.vocabulary[:5] == SPECIALS
    for text, language in (("L'image montre-t-elle un vingt et un ?", "fr"), ("有几个红色的数字？", "zh")):
        pieces = tokenizer.encode(text, language)
        assert pieces.texts == words(text, language)
        assert pieces.ids == tuple(vocabulary().encode(words(text, language)))
        assert [text[first:last].lower() for first, last in pieces.spans] == list(pieces.texts)


def test_a_batch_of_128_questions_takes_a_few_milliseconds(answers):
    """The trainer makes one at every step; ten times the usual time still passes."""
    scenes, questions = asking.generate(part("iid", "train"), 512, RandomStream(0), numbers=20)
    source = number_world.questions(scenes, questions, answers)
    source.batch(range(128), seeded(0))
    times = []
    for _ in range(5):
        start = time.process_time()
        source.batch(range(128), seeded(0))
        times.append(time.process_time() - start)
    assert min(times) < 0.02


def test_batches_follow_from_the_examples_alone(asked, answers):
    source = number_world.questions(*asked, answers)
    one, other = (source.batch([3, 1], seeded(seed)).inputs for seed in (0, 1))
    assert torch.equal(one.text.ids, other.text.ids) and torch.equal(one.regions.features, other.regions.features)


def test_joined_sources_keep_every_question_with_its_picture_and_answer(asked, answers):
    scenes, questions = asked
    others = asking.generate(part("iid", "dev"), 10, RandomStream(1), numbers=20)
    one, two = number_world.questions(scenes, questions, answers), number_world.questions(*others, answers)
    both = number_world.joined(one, two)
    assert len(both) == 40
    for source, index, place in ((one, 4, 4), (two, 7, 37)):
        alone, among = (given.batch([number], seeded(0)) for given, number in ((source, index), (both, place)))
        assert torch.equal(alone.inputs.text.ids, among.inputs.text.ids)
        assert torch.equal(alone.inputs.regions.features, among.inputs.regions.features)
        assert torch.equal(alone.inputs.regions.boxes, among.inputs.regions.boxes)
        assert torch.equal(alone.scores, among.scores)
        assert alone.about == among.about
        assert source.length(index) == both.length(place)


def test_questions_of_one_world_share_nothing_but_their_scene(answers, worlds):
    """Intervals draw worlds where there are several; a single one could not be drawn again."""
    for known, beginning in ((worlds, "world-"), (draw_fixed(RandomStream(0), numbers=20), "scene-")):
        scenes, asked = knowledge.generate(part("world", "test"), 20, RandomStream(0), known)
        groups = {about.group for about in number_world.questions(scenes, asked, answers).about}
        assert len(groups) > 1 and all(group.startswith(beginning) for group in groups)
