"""Two streams that meet: what is shared or not read is not computed, and nothing else changes."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from mm_kptm.batch import EVERY_ROW, NO_ROWS, POOLED_ONLY, Inputs, OutputRows, Regions, SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.models.single import SingleStream
from mm_kptm.models.two_stream import TwoStream
from mm_kptm.nn.assembly import Assembled, TextOnly
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.heads import Pooler
from mm_kptm.nn.ragged import padded_attend
from mm_kptm.nn.steps import ALL_PAIR_ROWS, CrossStep, PairRows, SelfStep, Step, Stream
from mm_kptm.nn.sublayers import AttentionSublayer, bert_layer
from mm_kptm.nn.visibility import Branches
from mm_kptm.vision.modules.assembly import TextBesideRegions
from mm_kptm.vision.modules.embeddings import MeanRegionEmbedding
from tests.vision.conftest import REGION_DIM, regions_of

LEFT, RIGHT = 8, 12  # the widths of the streams have nothing to do with each other


def one(dim: int) -> nn.Module:
    return bert_layer(dim, 2, dropout=0.0)


def meeting() -> list[tuple[str, Step]]:
    """A stack of each kind, then two rounds of reading the other and oneself."""
    steps: list[tuple[str, Step]] = [("left-0", SelfStep(one(LEFT), None)), ("right-0", SelfStep(None, one(RIGHT)))]
    for i in range(2):
        across = (bert_layer(a, 2, source_dim=b, width=8, dropout=0.0) for a, b in ((LEFT, RIGHT), (RIGHT, LEFT)))
        steps += [(f"cross-{i}", CrossStep(*across)), (f"after-{i}", SelfStep(one(LEFT), one(RIGHT)))]
    return steps


def model(steps: list[tuple[str, Step]]) -> TwoStream:
    text = TextEmbedding(40, LEFT, max_positions=20, dropout=0.0)
    regions = MeanRegionEmbedding(REGION_DIM, RIGHT, dropout=0.0)
    embed = TextBesideRegions(text, regions, region_dim=REGION_DIM)
    return TwoStream(embed, steps, Pooler(LEFT), dim=LEFT).eval()


@pytest.fixture
def encoder() -> TwoStream:
    torch.manual_seed(0)
    return model(meeting())


@pytest.fixture
def inputs() -> Inputs:
    return Inputs(text=Tokens.of([[2, 7, 3], [2, 8, 9, 10, 3], [2, 11, 12, 3]]), regions=regions_of(2, 4, 3))


@pytest.fixture
def questions(inputs: Inputs) -> Inputs:
    """Three texts about two images."""
    return replace(inputs.with_streams(regions=regions_of(4, 2)), image_of=torch.tensor([1, 0, 1]))


def each_alone(inputs: Inputs) -> Inputs:
    """The same with every text given its own copy of its image."""
    layout, rows = inputs.repeat_shared()
    regions = Regions(inputs.regions.features[rows], inputs.regions.boxes[rows], layout)
    return replace(inputs.with_streams(regions=regions), image_of=None)


class RegionsOnly(nn.Module):
    def __init__(self, regions: nn.Module) -> None:
        super().__init__()
        self.regions = regions

    def forward(self, inputs: Inputs) -> Assembled:
        stream = Stream.of(self.regions(inputs.regions), inputs.regions.layout)
        return Assembled(stream, {"regions": EVERY_ROW})


def test_without_cross_steps_it_is_two_single_streams(inputs: Inputs) -> None:
    left, right = [one(LEFT) for _ in range(2)], [one(RIGHT) for _ in range(3)]
    steps: list[tuple[str, Step]] = [(f"left-{i}", SelfStep(layer, None)) for i, layer in enumerate(left)]
    steps += [(f"right-{i}", SelfStep(None, layer)) for i, layer in enumerate(right)]
    both = model(steps)
    texts = SingleStream(TextOnly(both.embed.text), left, both.pooler, dim=LEFT).eval()
    images = SingleStream(RegionsOnly(both.embed.regions), right, nn.Identity(), dim=RIGHT).eval()
    encoded, alone = both(inputs), texts(inputs)
    assert torch.equal(encoded.text, alone.text) and torch.equal(encoded.pooled, alone.pooled)
    assert torch.equal(encoded.regions, images(inputs).regions)


def test_shared_images_that_never_meet_their_texts_are_repeated_in_the_end(questions: Inputs) -> None:
    apart = model([("right-0", SelfStep(None, one(RIGHT)))])
    rows = torch.tensor([7, 0, 3])
    torch.testing.assert_close(apart(questions).regions, apart(each_alone(questions)).regions)
    some = apart(questions, OutputRows({"text": EVERY_ROW, "regions": rows}))
    torch.testing.assert_close(some.regions, apart(questions).regions[rows])


@pytest.mark.parametrize(
    "output_rows",
    [
        OutputRows({"text": torch.tensor([11, 1, 1]), "regions": torch.tensor([0, 7])}),
        OutputRows({"regions": torch.tensor([3, 2])}, pooled=False),
        OutputRows({"text": torch.tensor([4])}, pooled=False),
        OutputRows({"text": EVERY_ROW}),
        OutputRows({"regions": EVERY_ROW}),
        OutputRows({}, pooled=False),
        POOLED_ONLY,
    ],
    ids=["some", "regions", "a token", "text", "regions and pooled", "nothing", "pooled"],
)
@pytest.mark.parametrize("shared", [False, True], ids=["own image", "shared images"])
def test_wanted_rows_are_those_of_the_whole(
    encoder: TwoStream, questions: Inputs, shared: bool, output_rows: OutputRows
) -> None:
    given = questions if shared else each_alone(questions)
    whole, some = encoder(given), encoder(given, output_rows)
    assert some.states.keys() == output_rows.by_stream.keys()
    for name, states in some.states.items():
        torch.testing.assert_close(states, whole[name][output_rows[name]])
    torch.testing.assert_close(some.pooled, whole.pooled[: 3 if output_rows.pooled else 0])


def test_a_shared_image_may_be_asked_for_right_where_the_streams_meet(questions: Inputs) -> None:
    torch.manual_seed(0)
    last = model(meeting()[:3])
    rows = torch.tensor([7, 0, 3])
    whole, some = last(questions), last(questions, OutputRows({"text": torch.tensor([4]), "regions": rows}))
    torch.testing.assert_close(some.regions, whole.regions[rows])
    torch.testing.assert_close(some.text, whole.text[[4]])


def rows_of_calls(encoder: TwoStream) -> dict[str, int]:
    """Fills with the rows that each layer returned, by the name of its step and side."""
    counted: dict[str, int] = {}
    for name, step in encoder.steps.items():
        for side in ("left", "right"):
            if (layer := getattr(step, side)) is not None:

                def count(_module: nn.Module, _given: object, rows: Tensor, key: str = f"{name}.{side}") -> None:
                    counted[key] = len(rows)

                layer.register_forward_hook(count)
    return counted


def test_an_image_goes_through_its_own_layers_once(encoder: TwoStream, questions: Inputs) -> None:
    counted = rows_of_calls(encoder)
    together = encoder(questions)
    assert (counted["right-0.right"], counted["cross-0.right"]) == (6, 8)
    alone = encoder(each_alone(questions))
    assert (counted["right-0.right"], counted["cross-0.right"]) == (8, 8)
    for ours, theirs in zip(vars(together).values(), vars(alone).values(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_shared_image_is_projected_once_where_the_streams_meet(encoder: TwoStream, questions: Inputs) -> None:
    counted: list[int] = []
    key = encoder.steps["cross-0"].left.self_attention.attention.key
    key.register_forward_hook(lambda _module, given, _out: counted.append(len(given[0])))
    encoder(questions)
    encoder(each_alone(questions))
    assert counted == [6, 8]


def test_gradients_do_not_depend_on_what_is_shared_or_read(encoder: TwoStream, questions: Inputs) -> None:
    parameters = [p for name, p in encoder.named_parameters() if not name.startswith(("steps.after-1.right",))]
    runs = [
        encoder(questions, POOLED_ONLY).pooled,
        encoder(questions).pooled,
        encoder(each_alone(questions)).pooled,
    ]
    first, *others = (
        torch.autograd.grad(run.pow(2).sum(), parameters, allow_unused=True, materialize_grads=True) for run in runs
    )
    for other in others:
        torch.testing.assert_close(first, other)


def test_the_pooled_state_alone_needs_little_of_the_last_layers(encoder: TwoStream, inputs: Inputs) -> None:
    counted = rows_of_calls(encoder)
    encoder(inputs, POOLED_ONLY)
    assert "after-1.right" not in counted and "cross-1.right" not in counted
    assert (counted["after-1.left"], counted["cross-1.left"], counted["after-0.right"]) == (3, 12, 9)


def test_steps_say_what_they_need() -> None:
    some = torch.tensor([1])
    alone, cross = SelfStep(one(8), None), CrossStep(one(8), one(8))
    assert alone.needs(PairRows(some, some)) == PairRows(EVERY_ROW, some)
    assert alone.needs(PairRows(NO_ROWS, NO_ROWS)) == PairRows(NO_ROWS, NO_ROWS)
    assert (
        cross.needs(PairRows(some, NO_ROWS)) == ALL_PAIR_ROWS and cross.needs(PairRows(NO_ROWS, some)) == ALL_PAIR_ROWS
    )
    assert cross.needs(PairRows(NO_ROWS, NO_ROWS)) == PairRows(NO_ROWS, NO_ROWS)


def test_streams_may_be_kept_until_they_meet(encoder: TwoStream, inputs: Inputs) -> None:
    images = encoder.apart(inputs.with_streams(text=None)).right
    texts = encoder.apart(inputs.with_streams(regions=None)).left
    kept = encoder.together(encoder.apart(inputs)._replace(left=texts, right=images))
    for ours, theirs in zip(vars(kept).values(), vars(encoder(inputs)).values(), strict=True):
        torch.testing.assert_close(ours, theirs)


def test_a_walk_ends_where_a_run_does(encoder: TwoStream, questions: Inputs) -> None:
    depths = list(encoder.hidden_states(questions))
    assert len(depths) == 1 + len(encoder.steps)
    assert [len(pair.right.x) for pair in depths] == [6, 6, 6, 8, 8, 8, 8]
    torch.testing.assert_close(depths[-1].left.x, encoder(questions).text)
    torch.testing.assert_close(depths[-1].right.x, encoder(questions).regions)


def test_company_and_order_change_nothing(encoder: TwoStream, questions: Inputs) -> None:
    together = encoder(questions)
    layout, _ = questions.repeat_shared()
    for text, image in enumerate(questions.image_of.tolist()):
        regions, words = questions.regions, questions.text
        features, boxes = (list(regions.layout.split(x))[image] for x in (regions.features, regions.boxes))
        ids = list(words.layout.split(words.ids))[text]
        alone = encoder(
            Inputs(text=Tokens.of([ids.tolist()]), regions=Regions(features, boxes, SequenceLayout((len(boxes),))))
        )
        torch.testing.assert_close(alone.pooled[0], together.pooled[text])
        torch.testing.assert_close(alone.text, list(words.layout.split(together.text))[text])
        torch.testing.assert_close(alone.regions, list(layout.split(together.regions))[text])


def test_no_regions_are_an_image_without_any(encoder: TwoStream, inputs: Inputs) -> None:
    """One example of a batch may have none: what it reads is zero, and it answers as it does by itself."""
    mixed = inputs.with_streams(regions=regions_of(2, 0, 3))
    without = encoder(inputs.with_streams(regions=None))
    torch.testing.assert_close(encoder(mixed).pooled[1], without.pooled[1])
    assert without.regions.shape == (0, RIGHT) and without.pooled.isfinite().all()
    blind = encoder.steps["cross-0"].left.self_attention
    pair = encoder.apart(inputs.with_streams(regions=None))
    expected = blind.norm(pair.left.x + blind.attention.out_proj.bias)
    torch.testing.assert_close(encoder.steps["cross-0"].left.ffn(expected), encoder.steps["cross-0"](pair).left.x)


def test_regions_without_text_are_not_pooled(encoder: TwoStream, inputs: Inputs) -> None:
    encoded = encoder(inputs.with_streams(text=None))
    assert encoded.regions.shape == (9, RIGHT) and encoded.text.shape == (0, LEFT)
    assert encoded.pooled.shape == (0, LEFT)


def test_neither_stream_is_refused(encoder: TwoStream) -> None:
    with pytest.raises(UserError, match="this model reads text, regions or both, but the inputs have neither"):
        encoder(Inputs())


def test_a_model_without_steps_is_refused() -> None:
    with pytest.raises(UserError, match="needs at least one layer, but every number of layers is 0"):
        model([])


def tree(branch_token: int) -> Inputs:
    """Two texts, the first with a branch (rows 2 and 3) hanging from its second word; both about one image."""
    words, branches = torch.tensor([0, 1, 1, 1, 2, 3, 0, 1, 2]), torch.tensor([0, 0, 1, 1, 0, 0, 0, 0, 0])
    text = Tokens.of(
        [[2, 7, branch_token, 21, 8, 3], [2, 9, 3]],
        positions=[[0, 1, 2, 3, 2, 3], [0, 1, 2]],
        attention_mask=Branches(words=words, branches=branches),
    )
    return Inputs(text=text, regions=regions_of(3), image_of=torch.tensor([0, 0]))


def test_a_fact_is_hidden_from_the_other_stream() -> None:
    """Only by way of the word it hangs from, once that has read it."""
    torch.manual_seed(0)
    steps = meeting()
    cross = model(steps[2:3])
    before, after = cross(tree(20)), cross(tree(30))
    assert torch.equal(before.regions, after.regions)
    assert (before.text != after.text).any(1).nonzero().squeeze(1).tolist() == [2]
    read = model([steps[0], steps[2]])
    reached = (read(tree(20)).regions != read(tree(30)).regions).any(1)
    assert reached.tolist() == [True, True, True, False, False, False], "the regions beside the first text"


def test_cross_reading_agrees_with_padding(encoder: TwoStream, monkeypatch: pytest.MonkeyPatch) -> None:
    given = replace(tree(20), image_of=torch.tensor([1, 0]), regions=regions_of(3, 0))
    ragged = encoder(given)
    monkeypatch.setattr(
        "mm_kptm.nn.attention.attend", lambda q, k, v, reading, dropout: padded_attend(q, k, v, reading)
    )
    padded = encoder(given)
    assert isinstance(encoder.steps["cross-0"].left.self_attention, AttentionSublayer)
    torch.testing.assert_close(ragged.text, padded.text)
    torch.testing.assert_close(ragged.regions, padded.regions)


def test_streams_are_given_back_by_the_names_that_they_have(inputs: Inputs) -> None:
    encoder = model([("left-0", SelfStep(one(LEFT), None))])
    encoder.streams = ("subtitles", "video")
    encoded = encoder(inputs, OutputRows({"video": torch.tensor([1])}))
    assert list(encoded.states) == ["video"] and encoded["video"].shape == (1, RIGHT)
    assert list(encoder(inputs).states) == ["subtitles", "video"]
