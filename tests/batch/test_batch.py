"""Layouts, padding at the edges, and values that move whole."""

import pickle
from dataclasses import dataclass

import pytest
import torch
from torch import Tensor

from mm_kptm.batch import (
    ALL_ROWS,
    EVERY_ROW,
    NO_ROWS,
    POOLED_ONLY,
    Encoded,
    Entities,
    Inputs,
    InputStream,
    Movable,
    OutputRows,
    Regions,
    SequenceLayout,
    Tokens,
    layout_of,
    pad,
    unpad,
)
from mm_kptm.errors import UserError

CPU = torch.device("cpu")
LAYOUT = SequenceLayout((2, 0, 3))


def test_a_layout_knows_every_row() -> None:
    assert LAYOUT.offsets == (0, 2, 2, 5) and LAYOUT.total == 5 and len(LAYOUT) == 3
    assert LAYOUT.sequence_ids(CPU).tolist() == [0, 0, 2, 2, 2]
    assert LAYOUT.offsets_in_sequence(CPU).tolist() == [0, 1, 0, 1, 2]
    assert LAYOUT.starts(CPU).tolist() == [0, 2, 2]
    assert LAYOUT.cu_seqlens(CPU).dtype == torch.int32
    assert [part.tolist() for part in LAYOUT.split(torch.arange(5))] == [[0, 1], [], [2, 3, 4]]


def test_an_empty_batch_has_a_layout() -> None:
    empty = SequenceLayout(())
    assert empty.offsets == (0,) and empty.total == len(empty) == 0
    assert len(empty.sequence_ids(CPU)) == len(empty.starts(CPU)) == 0


def test_sequences_can_be_taken_again_and_again() -> None:
    taken, rows = LAYOUT.select(torch.tensor([2, 0, 2]))
    assert taken.lengths == (3, 2, 3)
    assert rows.tolist() == [2, 3, 4, 0, 1, 2, 3, 4]


def test_padding_there_and_back_is_the_same() -> None:
    rows = torch.randn(5, 4)
    padded = pad(rows, LAYOUT, value=-1.0)
    real = pad(torch.ones(5), LAYOUT).bool()
    assert padded.shape == (3, 3, 4) and (padded[~real] == -1).all()
    assert torch.equal(unpad(padded, real), rows)
    assert layout_of(real) == LAYOUT
    assert pad(rows, LAYOUT, length=7).shape == (3, 7, 4)


def test_tokens_from_lists_count_positions_and_have_one_segment() -> None:
    tokens = Tokens.of([[5, 6], [], [7]])
    assert tokens.ids.tolist() == [5, 6, 7] and tokens.positions.tolist() == [0, 1, 0]
    assert tokens.segments.tolist() == [0, 0, 0] and tokens.languages is None and tokens.rows == 3


@pytest.mark.parametrize("name", ["positions", "segments", "languages", "mask_groups"])
def test_parts_of_another_length_are_refused(name: str) -> None:
    with pytest.raises(UserError, match=rf"^sequence 1 has 1 ids but 2 {name}$"):
        Tokens.of([[5, 6], [7]], **{name: [[0, 0], [0, 0]]})


def test_padded_tokens_keep_their_columns_as_positions() -> None:
    real = torch.tensor([[1, 0, 1], [0, 1, 1]])
    tokens = Tokens.padded(torch.arange(6).view(2, 3), real, segments=torch.ones(2, 3, dtype=torch.long))
    assert tokens.ids.tolist() == [0, 2, 4, 5] and tokens.positions.tolist() == [0, 2, 1, 2]
    assert tokens.layout.lengths == (2, 2) and tokens.segments.tolist() == [1] * 4


@pytest.mark.parametrize("name", ["real", "segments", "languages"])
def test_padded_parts_of_another_shape_are_refused(name: str) -> None:
    parts = {"real": torch.ones(2, 3), name: torch.ones(2, 4)}
    with pytest.raises(UserError, match=rf"^ids have shape \[2, 3\] but {name} have \[2, 4\]$"):
        Tokens.padded(torch.zeros(2, 3, dtype=torch.long), **parts)


def test_padded_regions_are_ragged() -> None:
    real = torch.tensor([[True, True], [True, False]])
    regions = Regions.padded(torch.arange(8.0).view(2, 2, 2), torch.zeros(2, 2, 4), real, masked=~real)
    assert regions.features.tolist() == [[0, 1], [2, 3], [4, 5]]
    assert regions.boxes.shape == (3, 4) and regions.layout.lengths == (2, 1)
    assert regions.masked is not None and regions.masked.tolist() == [False] * 3


def images(*lengths: int) -> Regions:
    total = sum(lengths)
    return Regions(torch.zeros(total, 2), torch.zeros(total, 4), SequenceLayout(lengths))


def test_every_text_is_shown_its_image() -> None:
    text = Tokens.of([[1], [2], [3]])
    layout, rows = Inputs(text=text, regions=images(2, 1), image_of=torch.tensor([1, 0, 1])).repeat_shared()
    assert layout.lengths == (1, 2, 1) and rows.tolist() == [2, 0, 1, 2]  # type: ignore[union-attr]
    paired, same = Inputs(text=text, regions=images(2, 1, 4)).repeat_shared()
    assert paired.lengths == (2, 1, 4) and same is EVERY_ROW


@pytest.mark.parametrize(
    ("inputs", "complaint"),
    [
        (Inputs(text=Tokens.of([[1]])), r"regions are read here, but the inputs have none"),
        (
            Inputs(text=Tokens.of([[1], [2]]), regions=images(1)),
            r"2 texts cannot be joined with the regions of 1 images; give image_of, the number of the image that each "
            r"text is about",
        ),
        (
            Inputs(text=Tokens.of([[1], [2]]), regions=images(1), image_of=torch.tensor([0])),
            r"image_of names an image for 1 texts, but there are 2",
        ),
        (
            Inputs(text=Tokens.of([[1], [2]]), regions=images(1, 1), image_of=torch.tensor([0, 2])),
            r"text 1 is about image 2, but the images are 0 to 1",
        ),
    ],
)
def test_texts_without_an_image_are_refused(inputs: Inputs, complaint: str) -> None:
    with pytest.raises(UserError, match=f"^{complaint}$"):
        inputs.repeat_shared()


def test_inputs_count_their_examples() -> None:
    assert len(Inputs(text=Tokens.of([[1], [2]]), regions=images(1))) == 2
    assert len(Inputs(regions=images(1, 2, 3))) == 3
    assert len(Inputs()) == 0


def test_a_value_moves_whole_and_leaves_the_old_one() -> None:
    inputs = Inputs(
        text=Tokens.of([[1, 2]], languages=[[0, 0]]),
        regions=images(2),
        entities=Entities(torch.zeros(2, 3), torch.zeros(2).bool()),
    )
    moved = inputs.to("meta")
    assert moved.text is not None and moved.regions is not None and moved.entities is not None
    for part in (moved.text.ids, moved.text.languages, moved.regions.boxes, moved.entities.linked):
        assert part is not None and part.is_meta
    assert inputs.text is not None and not inputs.text.ids.is_meta
    assert moved.text.layout == inputs.text.layout and moved.images is None


def test_a_value_without_tensors_is_itself() -> None:
    empty = Inputs()
    assert empty.to("meta") is empty
    plain = Movable()
    assert plain.to("meta") is plain


@dataclass(frozen=True, eq=False)
class Sounds(InputStream):
    """A stream that the package does not know."""

    samples: Tensor  #: [B, samples]

    @property
    def num_sequences(self) -> int:
        return len(self.samples)


def test_a_stream_of_any_name_travels_with_the_others() -> None:
    inputs = Inputs(text=Tokens.of([[1], [2]]), sounds=Sounds(torch.zeros(2, 9)))
    sounds = inputs.to("meta").required("sounds", Sounds)
    assert sounds.samples.is_meta and list(inputs.streams) == ["text", "sounds"]
    assert pickle.loads(pickle.dumps(inputs)).required("sounds", Sounds).samples.shape == (2, 9)
    assert len(Inputs({"sounds": Sounds(torch.zeros(3, 9))})) == 3
    assert len(Inputs(entities=Entities(torch.zeros(2, 3), torch.zeros(2)), sounds=Sounds(torch.zeros(5, 9)))) == 5


def test_streams_can_be_exchanged_and_taken_out() -> None:
    inputs = Inputs(text=Tokens.of([[1]]), regions=images(2), image_of=torch.tensor([0]))
    changed = inputs.with_streams(text=None, sounds=Sounds(torch.zeros(1, 9)))
    assert list(changed.streams) == ["regions", "sounds"] and changed.image_of is inputs.image_of
    assert list(inputs.streams) == ["text", "regions"]


def test_a_stream_that_is_missing_or_of_another_kind_is_named() -> None:
    inputs = Inputs(text=Tokens.of([[1]]), sounds=Sounds(torch.zeros(1, 9)))
    assert inputs.get("video", Sounds) is None
    with pytest.raises(UserError, match=r"^this model reads video, but the inputs have text and sounds$"):
        inputs.required("video", Sounds)
    with pytest.raises(UserError, match=r"^the stream sounds is read as Regions, but it is made of Sounds$"):
        inputs.get("sounds", Regions)
    with pytest.raises(UserError, match=r"streams such as Tokens or Regions, but about is a Tensor$"):
        Inputs(about=torch.zeros(1))  # type: ignore[arg-type]


def test_rows_that_are_read_go_by_the_name_of_their_stream() -> None:
    rows = torch.tensor([0, 2])
    some = OutputRows({"text": rows}, pooled=False)
    assert some["text"] is rows and some["video"] is NO_ROWS
    assert ALL_ROWS["video"] is EVERY_ROW and ALL_ROWS.pooled
    assert POOLED_ONLY["text"] is NO_ROWS and POOLED_ONLY.pooled
    assert some.to("meta")["text"].is_meta  # type: ignore[union-attr]


def test_states_that_were_not_asked_for_are_named_where_they_are_read() -> None:
    encoded = Encoded({"video": torch.ones(2, 3)}, pooled=torch.zeros(1, 3))
    assert encoded["video"].shape == (2, 3)
    with pytest.raises(UserError, match=r"^the states of text are read, but the encoder gave video; ask for them in "):
        _ = encoded.text
    with pytest.raises(UserError, match=r"^the states of regions are read, but the encoder gave none; ask"):
        _ = Encoded({}, pooled=torch.zeros(1, 3)).regions


def test_ids_that_are_no_whole_numbers_are_said() -> None:
    with pytest.raises(UserError, match=r"^ids are whole numbers, but there are others among them, such as 1.5$"):
        Tokens.of([[1.5, 2.0]])  # type: ignore[list-item]
    with pytest.raises(UserError, match=r"^ids are lists of whole numbers, one list for each sequence, not 'a'$"):
        Tokens.of("abc")  # type: ignore[arg-type]
    assert Tokens.of([]).ids.dtype == torch.long


def test_a_stream_without_its_name_is_said() -> None:
    with pytest.raises(UserError, match=r"^streams are given by name, such as Inputs\(text=...\), but .* type Tokens$"):
        Inputs(Tokens.of([[1, 2]]))  # type: ignore[arg-type]
