"""A text, a picture or a picture of the index finds what it is like."""

import pytest

from mm_kptm.errors import UserError
from mm_kptm.suites.search.query import Searcher
from tests.suites.search.towers import model, paint


@pytest.fixture
def searcher(index):
    return Searcher(index, model())


@pytest.mark.parametrize("word", ["blue", "蓝", " blue "])
def test_a_text_of_any_language_the_model_reads(searcher, word):
    hits = searcher.by_text(word, 2)
    assert [hit.name for hit in hits] == ["blue.png", "dark/blue.jpg"]
    assert 1 > hits[0].similarity > hits[1].similarity > 0.9


def test_a_picture(searcher, tmp_path):
    hits = searcher.by_picture(paint(tmp_path / "query.png", (0, 240, 10)), 100)
    assert [hits[0].name, len(hits)] == ["green.png", 6]


def test_more_like_a_picture_leaves_it_out(searcher):
    hits = searcher.like("red.png", 2)
    assert [hit.name for hit in hits] == ["dark/red.png", "grey.png"]
    assert len(searcher.like("red.png", 50)) == 5


@pytest.mark.parametrize(
    ("ask", "message"),
    [
        (lambda searcher: searcher.by_text("  "), "an empty text was searched for; type a word or a sentence"),
        (lambda searcher: searcher.by_text("red", 0), "0 results were asked for; from 1 to 1000 can be shown"),
        (lambda searcher: searcher.by_text("red", 1001), "1001 results were asked for"),
        (lambda searcher: searcher.like("rad.png"), "has no picture 'rad.png'; did you mean red.png?"),
        (lambda searcher: searcher.like("../index/current"), "has no picture '../index/current'"),
    ],
)
def test_what_cannot_be_answered_is_said(searcher, ask, message):
    with pytest.raises(UserError) as refusal:
        ask(searcher)
    assert message in str(refusal.value)


def test_a_model_that_embeds_nothing_finite_is_refused(searcher):
    searcher.model.system.scale.data[:] = float("nan")
    with pytest.raises(UserError, match="embeds as numbers that are not finite"):
        searcher.by_text("red")
