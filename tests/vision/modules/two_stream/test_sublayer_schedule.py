"""Schedules as words: those of the paper, those in configurations, and what is none."""

import pytest

from mm_kptm.errors import UserError
from mm_kptm.vision.modules.two_stream.sublayer_schedule import joined, schedule_in, side_by_side, sublayers, text_first


def test_the_published_schedules() -> None:
    """The numbers of the sub-layers in the published configurations of the controlled models."""
    vilbert = sublayers(text_first(6, 6))
    assert [number for number, s in enumerate(vilbert) if "tv" in s.reads] == [12, 16, 20, 24, 28, 32]
    assert len(vilbert) == 36 and not any(s.shared for s in vilbert)
    lxmert = sublayers(side_by_side(9, 5, 5))
    assert [number for number, s in enumerate(lxmert) if "vt" in s.reads] == [18, 21, 24, 27, 30]
    assert [number for number, s in enumerate(lxmert) if "vv" in s.reads] == [0, 2, 4, 6, 8, 19, 22, 25, 28, 31]
    assert [number for number, s in enumerate(lxmert) if s.shared] == [18, 21, 24, 27, 30]
    single = sublayers(joined(12))
    assert len(single) == 24 and all(s.shared for s in single)
    assert all(len(s.reads) == 4 for s in single[::2]) and all(len(s.feeds) == 2 for s in single[1::2])


def test_more_layers_of_regions_than_of_text() -> None:
    assert side_by_side(1, 2, 1) == "tt+vv t+v vv v tv+vt= tt+vv t+v"


def test_a_configuration_becomes_a_schedule() -> None:
    config = {
        "tt_attn_sublayers": [0, 2],
        "tv_attn_sublayers": [2],
        "vt_attn_sublayers": [2],
        "vv_attn_sublayers": [2],
        "t_ff_sublayers": [1, 3],
        "v_ff_sublayers": [3],
        "shared_sublayers": [0, 2],  # one stream alone has nothing to share
    }
    assert schedule_in(config) == "tt t tt+tv+vt+vv= t+v"
    assert schedule_in({"hidden_size": 3}) is None


def test_a_configuration_with_a_gap_or_a_sub_layer_of_two_kinds_is_refused() -> None:
    with pytest.raises(UserError, match=r"sub-layer 1 in none of the lists; \*_attn_sublayers and \*_ff_sublayers"):
        schedule_in({"tt_attn_sublayers": [0], "t_ff_sublayers": [2]})
    with pytest.raises(UserError, match="sub-layer 0 both as attention and as feed-forward"):
        schedule_in({"tt_attn_sublayers": [0], "t_ff_sublayers": [0, 1]})


def test_words_that_are_none_are_refused() -> None:
    for word in ("ff", "tt+t", "tt+tt", "=", "t+v+x"):
        with pytest.raises(UserError, match=r"sub-layer 1 of the schedule is .*; a word joins some of tt, tv, vt, vv"):
            sublayers(f"tt {word}")
    for word in ("tv", "t=", "tt+tv="):
        with pytest.raises(UserError, match="which takes both streams, but one has no part"):
            sublayers(word)
