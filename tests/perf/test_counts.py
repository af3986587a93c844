"""Work grows with what is there, by exact counts of floating-point operations. No clock."""

from dataclasses import replace

import pytest
import torch

import mm_kptm
from benchmarks.counts.flops import attention_products, counted
from benchmarks.counts.memory import peak_bytes
from mm_kptm.batch import ALL_ROWS, EVERY_ROW, POOLED_ONLY, Inputs, OutputRows, Regions, SequenceLayout, Tokens
from mm_kptm.crosslingual.corpora.bitext import EncodedSentence, translations
from mm_kptm.crosslingual.objectives.translation_language_modeling import TranslationLanguageModeling
from mm_kptm.data.tokenizers.protocol import Specials
from mm_kptm.knowledge.injection.sentence_tree import TreeBuilder
from mm_kptm.objectives.mixture import Mixture, MixtureBatch
from mm_kptm.objectives.rows import RowTargets
from mm_kptm.objectives.tokens import MaskedTokens, Masking
from mm_kptm.preprocessing.inputs import InputSource
from mm_kptm.systems.system import System

pytestmark = pytest.mark.perf_counts

DIM, HEADS, LAYERS, FFN, VOCABULARY = 64, 4, 3, 128, 500


def text(*lengths: int) -> Inputs:
    return Inputs(text=Tokens.of([[7] * n for n in lengths]))


@pytest.fixture(scope="module")
def system() -> System:
    return mm_kptm.build(
        "bert-base",
        heads=["masked-tokens"],
        seed=0,
        dim=DIM,
        num_heads=HEADS,
        num_layers=LAYERS,
        ffn_dim=FFN,
        vocab_size=VOCABULARY,
        dropout=0.0,
    )


def forward(system: System, inputs: Inputs, output_rows: OutputRows) -> int:
    with torch.no_grad():
        return counted(lambda: system(inputs, output_rows))


def step(system: System, inputs: Inputs) -> int:
    return counted(lambda: system(inputs, OutputRows({"text": EVERY_ROW}, pooled=False)).text.sum().backward())


TEXT_ONLY = OutputRows({"text": EVERY_ROW}, pooled=False)
#: Multiplications and additions of one row in one layer, without attention.
PER_ROW = 2 * (4 * DIM * DIM + 2 * DIM * FFN)


def closed_form(*lengths: int) -> int:
    """The encoder's cost: linear in real rows, and in the square of each length."""
    return LAYERS * sum(n * PER_ROW + 2 * 2 * n * n * DIM for n in lengths)


@pytest.mark.parametrize("lengths", [(1,), (5, 9), (30, 30, 7), (64,)])
def test_the_encoder_costs_its_closed_form(system: System, lengths: tuple[int, ...]) -> None:
    assert forward(system, text(*lengths), TEXT_ONLY) == closed_form(*lengths)


@pytest.mark.parametrize("lengths", [(5, 9), (30, 30, 7)])
def test_training_costs_what_it_must(system: System, lengths: tuple[int, ...]) -> None:
    """Backward: two products for each of forward, and five instead of two within attention."""
    rows, squares = sum(lengths), sum(n * n for n in lengths)
    assert step(system, text(*lengths)) == LAYERS * (3 * rows * PER_ROW + 7 * 2 * squares * DIM)


def test_a_long_sentence_costs_only_its_own_share(system: System) -> None:
    """One sentence of 512 tokens beside 31 of 30: no more than 1.1 times what it costs by itself."""
    short, long = [30] * 31, 512
    for cost in (lambda *n: forward(system, text(*n), TEXT_ONLY), lambda *n: step(system, text(*n))):
        assert cost(*short, long) - cost(*short) <= 1.1 * cost(long)


def test_padding_costs_nothing(system: System) -> None:
    real = torch.zeros(3, 64, dtype=torch.bool)
    for row, length in enumerate((5, 9, 30)):
        real[row, :length] = True
    padded = Inputs(text=Tokens.padded(torch.full((3, 64), 7), real))
    assert forward(system, padded, TEXT_ONLY) == forward(system, text(5, 9, 30), TEXT_ONLY)


def test_the_vocabulary_is_scored_only_where_asked(system: System) -> None:
    """Linear in hidden tokens: each costs one transform and one row of scores."""
    states, head = torch.randn(400, DIM), system.head("masked-tokens")
    with torch.no_grad():
        costs = [counted(lambda n=n: head(states[:n])) for n in (0, 10, 20, 40, 80)]
    assert costs == [n * 2 * (DIM * DIM + DIM * VOCABULARY) for n in (0, 10, 20, 40, 80)]


def test_the_last_layer_finishes_only_what_is_read(system: System) -> None:
    """The rows that nobody reads cost one layer less, save for the keys and values that others read."""
    lengths, asked = (30, 30, 7), torch.tensor([3, 31, 60])
    everything = forward(system, text(*lengths), TEXT_ONLY)
    some = forward(system, text(*lengths), OutputRows({"text": asked}, pooled=False))
    keys_and_values = sum(lengths) * 2 * 2 * DIM * DIM
    rows = 3 * (PER_ROW - 2 * 2 * DIM * DIM) + 2 * 2 * (30 + 30 + 7) * DIM
    assert some == everything - closed_form(*lengths) // LAYERS + keys_and_values + rows


def test_a_sentence_vector_finishes_only_first_rows(system: System) -> None:
    assert forward(system, text(30, 30, 7), POOLED_ONLY) < 0.85 * forward(system, text(30, 30, 7), ALL_ROWS)


def test_images_cost_by_how_many_there_are() -> None:
    """A region is projected once per image, not once per question about it; questions cost the same either way."""
    sizes = {"dim": DIM, "num_heads": HEADS, "num_layers": 1, "ffn_dim": FFN, "vocab_size": 50, "region_dim": 100}
    system = mm_kptm.build("uniter-base", heads=[], seed=0, **sizes)

    def cost(images: int) -> int:
        regions = Regions(torch.rand(images * 9, 100), torch.rand(images * 9, 4), SequenceLayout((9,) * images))
        inputs = Inputs(text=Tokens.of([[7] * 5] * 8), regions=regions, image_of=torch.arange(8) % images)
        return forward(system, inputs, POOLED_ONLY)

    first, second, third, fourth = (cost(images) for images in (1, 2, 4, 8))
    projection = 9 * 2 * (100 + 7) * DIM  # features, and the seven numbers of a box
    assert [second - first, third - second, fourth - third] == [projection, 2 * projection, 4 * projection]


def test_memory_is_counted_while_it_is_held() -> None:
    """Two products of 4,000 bytes alive at once, a third after the first is gone, and a view that is free."""
    rows = torch.zeros(1000)

    def work() -> None:
        first = rows + 1
        second = (first + 1).view(10, 100)
        del first
        second.add(1)

    assert peak_bytes(work) == 2 * 4000


def test_training_holds_no_scores_of_tokens_that_were_not_hidden(system: System) -> None:
    """Beyond the gradients, a step with ten hidden words holds little, however long the texts are."""
    masking = Masking(3, (10, 20), frozenset())
    objective, inputs = MaskedTokens(masking), text(100, 100)
    rows = torch.arange(10)
    assert inputs.text is not None
    batch = RowTargets(inputs, rows, inputs.text.ids[rows], torch.zeros(10, dtype=torch.long))
    held = peak_bytes(lambda: objective.loss(system, batch))
    scores_everywhere = 200 * VOCABULARY * 4
    states = 200 * (LAYERS * (8 * DIM + 3 * FFN) + 8 * DIM) * 4
    assert held < states + scores_everywhere / 2


def test_attention_is_counted_by_its_products() -> None:
    """The count is the same whether torch attends in one operator or in two products and a softmax."""
    query, key, value = (torch.randn(2, 3, n, 8) for n in (5, 11, 11))
    fused = counted(lambda: torch.nn.functional.scaled_dot_product_attention(query, key, value))
    plain = counted(lambda: (query @ key.transpose(-1, -2)).softmax(-1) @ value)
    assert fused == plain == attention_products(query.shape, key.shape, 2)


def test_a_question_costs_nothing_of_its_image_until_they_meet() -> None:
    """LXMERT: layers of the regions are paid per image, layers that read both per question."""
    sizes = {"dim": DIM, "num_heads": HEADS, "ffn_dim": FFN, "vocab_size": 50, "region_dim": 100}

    def cost(region_layers: int, images: int, questions: int = 8) -> int:
        system = mm_kptm.build(
            "lxmert-base",
            heads=[],
            seed=0,
            num_layers=1,
            num_region_layers=region_layers,
            num_cross_layers=1,
            **sizes,
        )
        regions = Regions(torch.rand(images * 9, 100), torch.rand(images * 9, 4), SequenceLayout((9,) * images))
        image_of = torch.arange(questions) % images
        return forward(
            system, Inputs(text=Tokens.of([[7] * 5] * questions), regions=regions, image_of=image_of), POOLED_ONLY
        )

    layer = 9 * PER_ROW + 2 * 2 * 9 * 9 * DIM
    assert cost(3, images=2) - cost(1, images=2) == 2 * 2 * layer
    assert cost(3, images=8) - cost(1, images=8) == 8 * 2 * layer


def test_the_last_cross_layer_finishes_only_what_the_vector_reads() -> None:
    """Of the regions' side nothing, of the text its first row; both are finished when states are wanted."""
    system = mm_kptm.build(
        "lxmert-base",
        heads=[],
        seed=0,
        num_layers=1,
        num_region_layers=1,
        num_cross_layers=1,
        dim=DIM,
        num_heads=HEADS,
        ffn_dim=FFN,
        vocab_size=50,
        region_dim=100,
    )
    regions = Regions(torch.rand(9, 100), torch.rand(9, 4), SequenceLayout((9,)))
    inputs = Inputs(text=Tokens.of([[7] * 5]), regions=regions)
    square = 2 * DIM * DIM
    # the regions read the text: queries of 9 rows, keys and values of 5, scores and sums, merge; then a whole layer
    of_regions = (9 + 2 * 5 + 9) * square + 2 * 2 * 9 * 5 * DIM + 9 * PER_ROW + 2 * 2 * 9 * 9 * DIM
    # four rows of the text need no query, merge or feed-forward
    of_text = 4 * (2 * square + 2 * 2 * DIM * FFN) + 2 * 2 * 4 * 5 * DIM
    assert forward(system, inputs, ALL_ROWS) - forward(system, inputs, POOLED_ONLY) == of_regions + of_text


def test_what_facts_add_is_their_tokens() -> None:
    """A visibility costs no product of its own: K-BERT is counted as BERT is."""
    sizes = {"dim": DIM, "num_heads": HEADS, "num_layers": LAYERS, "ffn_dim": FFN, "vocab_size": VOCABULARY}
    system = mm_kptm.build("kbert", heads=[], seed=0, **sizes)
    trees = TreeBuilder(lambda word: [7] * len(word), lambda _: ["abc"])([["ab", "c"], ["abcd"]])
    assert trees.layout.lengths == (9, 7)
    inputs = Inputs(text=trees.tokens())
    assert forward(system, inputs, TEXT_ONLY) == closed_form(9, 7)
    assert step(system, inputs) == LAYERS * (3 * 16 * PER_ROW + 7 * 2 * (81 + 49) * DIM)


def test_masked_tokens_and_translations_cost_their_real_rows() -> None:
    """A step of MLM and TLM: the same sentences twice cost exactly twice, whatever the longest is."""
    specials = Specials(pad=2, unknown=3, start=1, stop=1, mask=5)
    system = mm_kptm.build(
        "xlm-15", seed=0, dim=DIM, num_heads=HEADS, num_layers=2, vocab_size=VOCABULARY, num_languages=3, dropout=0.0
    )
    masking = Masking(specials.mask, (14, VOCABULARY), specials.never_masked)
    objectives = {one.name: one for one in (MaskedTokens(masking), TranslationLanguageModeling(masking))}
    mixture = Mixture(system, objectives, dict.fromkeys(objectives, 1.0))
    lengths = (3, 40, 5, 4)
    pairs = [(EncodedSentence([20] * n, 0), EncodedSentence([30] * (n // 2), 1)) for n in lengths]

    def cost(copies: int) -> int:
        texts = {
            MaskedTokens.name: Inputs(text=Tokens.of([[1, *[20] * n, 1] for n in lengths] * copies)),
            TranslationLanguageModeling.name: InputSource(translations(pairs * copies, specials)).batch(
                range(copies * len(pairs)), torch.Generator()
            ),
        }
        batches = {}
        for name, inputs in texts.items():
            assert inputs.text is not None
            text, layout = inputs.text, inputs.text.layout
            text = text if text.languages is not None else replace(text, languages=torch.zeros_like(text.ids))
            hidden = layout.starts(text.ids.device) + 1
            inputs = inputs.with_streams(text=text)
            batches[name] = RowTargets(inputs, hidden, text.ids[hidden], torch.arange(len(layout)))
        return counted(lambda: mixture.loss(MixtureBatch(batches, len(lengths))).backward())

    assert [cost(2), cost(3)] == [2 * cost(1), 3 * cost(1)]
