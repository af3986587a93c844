"""ZEN: against a dense re-computation, its files, and what n-grams may and may not change."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Candidates, Inputs, OutputRows, SequenceLayout, Tokens
from mm_kptm.errors import UserError
from mm_kptm.knowledge.lexicons.ngrams import N_GRAMS, NgramLexicon
from mm_kptm.knowledge.objectives.masked_ngrams import MaskedTokensAmongNgrams
from mm_kptm.objectives.tokens import Bernoulli, Masking
from mm_kptm.systems.assembly import parameters
from mm_kptm.systems.system import System

SIZES: dict[str, Any] = {
    "dim": 16,
    "num_heads": 2,
    "num_layers": 3,
    "num_ngram_layers": 2,
    "ffn_dim": 24,
    "vocab_size": 30,
    "num_ngrams": 9,
    "max_positions": 20,
}
TEXTS = Tokens.of([[2, 5, 6, 7, 3], [2, 8, 3], [2, 9, 5, 6, 3, 7, 3]], segments=[[0] * 5, [0] * 3, [0] * 5 + [1] * 2])
#: Overlapping n-grams, one twice, none in the second text, and one in the second part of the third.
FOUND = Candidates(
    spans=torch.tensor([[1, 2], [1, 3], [2, 3], [-1, -1], [9, 10], [10, 11], [13, 14]]),
    layout=SequenceLayout((3, 1, 3)),
    entities=torch.tensor([[4], [1], [8], [0], [4], [4], [2]]),
    priors=torch.ones(7, 1),
)
INPUTS = Inputs(text=TEXTS, candidates={N_GRAMS: FOUND})


@pytest.fixture(scope="module")
def system() -> System:
    """A small system whose weights are large enough to matter."""
    system = mm_kptm.build("zen", seed=0, **SIZES)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in system.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.3)
    return system


def attended(layer: Any, x: Tensor) -> Tensor:
    """A layer on one sequence [N, D] that reads itself whole."""
    attention = layer.self_attention.attention
    q, k, v = (
        part(x).unflatten(-1, (attention.num_heads, -1)).transpose(0, 1)
        for part in (attention.query, attention.key, attention.value)
    )
    shares = (q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5).softmax(-1)
    read = attention.out_proj((shares @ v).transpose(0, 1).flatten(1))
    return layer.ffn(layer.self_attention.norm(x + read))


def dense(system: System, text: int) -> Tensor:
    """One text by itself, with the matrix of characters by n-grams that the released code multiplies with."""
    encoder: Any = system.encoder
    first, length = TEXTS.layout.offsets[text], TEXTS.layout.lengths[text]
    rows = slice(first, first + length)
    words = encoder.embed.text
    x = words.word(TEXTS.ids[rows]) + words.position(torch.arange(length)) + words.segment(TEXTS.segments[rows])
    x = words.norm(x)
    held = slice(FOUND.layout.offsets[text], FOUND.layout.offsets[text + 1])
    spans, numbers = FOUND.spans[held] - first, FOUND.entities[held, 0]
    spans, numbers = spans[numbers > 0], numbers[numbers > 0]
    matrix = torch.zeros(length, len(numbers))
    for place, (begin, end) in enumerate(spans.tolist()):
        matrix[begin : end + 1, place] = 1
    table = encoder.embed_ngrams
    u = table.norm(table.word(numbers) + table.segment(TEXTS.segments[rows][spans[:, 0]]))
    for number, layer in enumerate(encoder.layers):
        x = attended(layer, x)
        if number < len(encoder.ngram_layers) and len(u):
            u = attended(encoder.ngram_layers[number], u)
        x = x + matrix @ u
    return x


@torch.no_grad()
def test_states_are_those_of_a_dense_matrix(system: System) -> None:
    states = system(INPUTS).text
    for text, rows in enumerate(TEXTS.layout.split(states)):
        torch.testing.assert_close(rows, dense(system, text), atol=1e-5, rtol=1e-4)


@torch.no_grad()
def test_the_last_depth_of_a_walk_is_the_result(system: System) -> None:
    depths = [stream.x for stream in system.hidden_states(INPUTS)]
    assert len(depths) == 4
    torch.testing.assert_close(depths[-1], system(INPUTS).text)


@torch.no_grad()
def test_rows_that_are_asked_for_are_told_as_in_the_whole(system: System) -> None:
    rows = torch.tensor([0, 2, 7, 10, 14])
    whole, some = system(INPUTS), system(INPUTS, OutputRows({"text": rows}))
    torch.testing.assert_close(some.text, whole.text[rows])
    torch.testing.assert_close(some.pooled, whole.pooled)


@torch.no_grad()
def test_ngrams_are_a_set(system: System) -> None:
    """They have no positions: another order within a text changes nothing."""
    order = torch.tensor([2, 0, 1, 3, 6, 5, 4])
    shuffled = replace(FOUND, spans=FOUND.spans[order], entities=FOUND.entities[order])
    other = replace(INPUTS, candidates={N_GRAMS: shuffled})
    torch.testing.assert_close(system(other).text, system(INPUTS).text)


@torch.no_grad()
def test_a_text_beside_others_is_read_as_alone(system: System) -> None:
    alone = Inputs(
        text=Tokens.of([[2, 5, 6, 7, 3]]),
        candidates={N_GRAMS: Candidates(FOUND.spans[:3], SequenceLayout((3,)), FOUND.entities[:3], FOUND.priors[:3])},
    )
    torch.testing.assert_close(system(alone).text, system(INPUTS).text[:5])


@torch.no_grad()
def test_without_ngrams_it_is_bert(system: System) -> None:
    bert = mm_kptm.build("bert-base", heads=[], **{k: v for k, v in SIZES.items() if "ngram" not in k})
    weights = {name: tensor for name, tensor in system.encoder.named_parameters() if "ngram" not in name}
    bert.encoder.load_state_dict(weights)
    plain = Inputs(text=TEXTS)
    torch.testing.assert_close(system(plain).pooled, bert(plain).pooled)
    none = replace(plain, candidates={N_GRAMS: Candidates.none(3, torch.device("cpu"))})
    torch.testing.assert_close(system(none).text, bert(plain).text)
    assert not torch.allclose(system(INPUTS).text, bert(plain).text)


@torch.no_grad()
def test_an_ngram_reaches_what_it_covers_first(system: System) -> None:
    """Behind one layer only covered rows differ; behind two, all rows of its text."""
    changed = replace(FOUND, entities=FOUND.entities.clone())
    changed.entities[6] = 3
    pairs = zip(
        system.hidden_states(INPUTS), system.hidden_states(replace(INPUTS, candidates={N_GRAMS: changed})), strict=True
    )
    rows = [(one.x != other.x).any(1).nonzero().flatten().tolist() for one, other in pairs]
    # the three n-grams of the text read each other in their own layer, so that each tells what it covers of the change
    assert rows[:2] == [[], [9, 10, 11, 13, 14]] and rows[2] == list(range(8, 15))


def in_the_released_files(system: System) -> dict[str, Tensor]:
    """The parameters as the released code names them, spelled out by hand."""
    tables = {
        "encoder.embed.text.word": "bert.embeddings.word_embeddings",
        "encoder.embed.text.position": "bert.embeddings.position_embeddings",
        "encoder.embed.text.segment": "bert.embeddings.token_type_embeddings",
        "encoder.embed.text.norm": "bert.embeddings.LayerNorm",
        "encoder.embed_ngrams.word": "bert.word_embeddings.word_embeddings",
        "encoder.embed_ngrams.segment": "bert.word_embeddings.token_type_embeddings",
        "encoder.embed_ngrams.norm": "bert.word_embeddings.LayerNorm",
        "encoder.pooler.dense": "bert.pooler.dense",
        "heads.masked-tokens.transform.dense": "cls.predictions.transform.dense",
        "heads.masked-tokens.transform.norm": "cls.predictions.transform.LayerNorm",
        "heads.masked-tokens": "cls.predictions",
        "heads.next-sentence": "cls.seq_relationship",
    }
    sublayers = {
        "self_attention.attention.out_proj": "attention.output.dense",
        "self_attention.norm": "attention.output.LayerNorm",
        "ffn.up_proj": "intermediate.dense",
        "ffn.down_proj": "output.dense",
        "ffn.norm": "output.LayerNorm",
        **{f"self_attention.attention.{role}": f"attention.self.{role}" for role in ("query", "key", "value")},
    }
    for ours, theirs, count in (("layers", "layer", 3), ("ngram_layers", "word_layers", 2)):
        for number in range(count):
            for part, name in sublayers.items():
                tables[f"encoder.{ours}.{number}.{part}"] = f"bert.encoder.{theirs}.{number}.{name}"
    found = {}
    for name, tensor in parameters(system).items():
        part, _, leaf = name.rpartition(".")
        found[f"{tables[part]}.{leaf}"] = tensor.contiguous()
    return {**found, "cls.predictions.decoder.weight": found["bert.embeddings.word_embeddings.weight"].clone()}


def test_released_files_load_and_tell_their_tables(system: System, tmp_path: Path) -> None:
    save_file(in_the_released_files(system), tmp_path / "zen.safetensors")
    sizes = {size: SIZES[size] for size in ("dim", "num_heads", "num_layers", "num_ngram_layers", "ffn_dim")}
    back = mm_kptm.load("zen", tmp_path / "zen.safetensors", **sizes)
    assert back.sizes["num_ngrams"] == 9 and back.sizes["vocab_size"] == 30
    theirs = parameters(back)
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in parameters(system).items())


def test_it_is_as_large_as_the_released_model() -> None:
    """Which its re-publishers call ZEN-224M."""
    with torch.device("meta"):
        system = mm_kptm.build("zen", heads=[])
    assert sum(parameter.numel() for parameter in system.parameters()) // 1_000_000 == 224


def test_the_released_configuration_sizes_it() -> None:
    recipe = mm_kptm.catalogue()["zen-base"]
    assert recipe.configured_sizes({"num_hidden_word_layers": 6, "word_size": 104089}) == {
        "num_ngram_layers": 6,
        "num_ngrams": 104089,
    }


@pytest.mark.parametrize("count", [0, 4])
def test_ngram_layers_stand_beside_layers(count: int) -> None:
    with pytest.raises(UserError) as raised:
        mm_kptm.build("zen", **{**SIZES, "num_ngram_layers": count})
    assert str(raised.value) == (
        f"{count} n-gram layers cannot stand beside 3 layers; give at least one and at most one a layer"
    )


def test_strange_ngrams_are_refused(system: System) -> None:
    with pytest.raises(UserError, match=r"^there are candidates for wiki, but only n-grams are read here$"):
        system(replace(INPUTS, candidates={"wiki": FOUND}))
    with pytest.raises(UserError, match=r"^3 texts have n-grams in 2 texts$"):
        system(replace(INPUTS, candidates={N_GRAMS: replace(FOUND, layout=SequenceLayout((3, 4)))}))
    far = replace(FOUND, entities=FOUND.entities + 1)
    with pytest.raises(UserError, match=r"^n-gram 9 .* the model has 9 n-grams; build it with num_ngrams=10 or more$"):
        system(replace(INPUTS, candidates={N_GRAMS: far}))


def test_eight_sentences_are_learned_by_heart() -> None:
    system = mm_kptm.build("zen", seed=0, **{**SIZES, "dim": 32, "dropout": 0.0}).train()
    draw = torch.Generator().manual_seed(2)
    texts = Tokens.of([[2, *torch.randint(5, 30, (8,), generator=draw).tolist(), 3] for _ in range(8)])
    pairs = [tuple(texts.ids[row : row + 2].tolist()) for row in range(1, 70, 9)]
    objective = MaskedTokensAmongNgrams(Masking(4, (5, 30), frozenset({2, 3}), Bernoulli(0.3)), NgramLexicon(pairs))
    batch = objective.prepare(Inputs(text=texts), draw)
    optimiser = torch.optim.Adam(system.parameters(), lr=3e-3)
    for _ in range(80):
        optimiser.zero_grad()
        loss = objective.loss(system, batch)
        loss.backward()
        optimiser.step()
    assert loss.item() < 0.1
    assert system.encoder.embed_ngrams.word.weight.grad.any(), "n-grams were read"
