"""KnowBERT: against a padded re-computation, its files, and what knowledge bases may and may not change."""

import json
import re
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import load_file, save_file
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Candidates, Inputs, OutputRows, Tokens
from mm_kptm.batch.special_entities import NULL, PADDING
from mm_kptm.errors import UserError
from mm_kptm.knowledge.fusion.entity_disambiguation import ByMargin, BySoftmax
from mm_kptm.knowledge.fusion.knowledge_bases import recontextualise
from mm_kptm.knowledge.objectives.entity_linking import EntityLinking, linker_only
from mm_kptm.recipes.bert import bert
from mm_kptm.systems.system import System

OFFICIAL = Path(__file__).parents[2] / "golden/data/knowbert/wordnet_wiki"
SMALL: dict[str, Any] = {"dim": 16, "num_heads": 2, "num_layers": 3, "ffn_dim": 24, "vocab_size": 40}
WIKI = {"num_entities": 20, "entity_dim": 8, "span_ffn_dim": 12, "read_ffn_dim": 10, "layer": 2, "read_heads": 2}
WORDNET = {**WIKI, "raw_dim": 6, "class_dim": 3, "null": "learned", "decision": "softmax", "layer": 1}
BASES = {"wiki": WIKI, "wordnet": WORDNET}


def built(bases: Mapping[str, Any] = BASES, **more: Any) -> System:
    """A small system whose weights are large enough to matter."""
    system = mm_kptm.build("knowbert", bases=bases, seed=0, **SMALL, **more)
    draw = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in system.parameters():
            if parameter.is_floating_point():
                parameter.add_(torch.randn(parameter.shape, generator=draw) * 0.3)
            else:
                parameter.copy_(torch.randint(1, 6, parameter.shape, generator=draw))
                parameter[NULL] = 7
    return system


#: Padding in the middle, at the left, a text without mentions, a span twice, and a candidate in the last column.
REAL = torch.tensor([[1, 1, 0, 1, 1, 1], [0, 1, 1, 1, 0, 0], [1, 1, 1, 1, 1, 1]]).bool()
IDS = torch.arange(5, 23).view(3, 6)
SPANS = torch.tensor([[[0, 1], [-1, -1], [3, 5]], [[-1, -1]] * 3, [[2, 2], [2, 2], [0, 5]]])
ENTITIES = torch.tensor([[[4, 3, 0], [0, 0, 0], [0, 0, 19]], [[0, 0, 0]] * 3, [[7, 8, 9], [5, 0, 0], [3, 0, 6]]])
PRIORS = torch.tensor(
    [[[0.3, 0.7, 0], [0, 0, 0], [0, 0, 1]], [[0, 0, 0]] * 3, [[0.2, 0.3, 0.5], [1, 0, 0], [0.5, 0, 0.5]]]
)
GOLD = torch.tensor([[4, 0, 3], [0, 0, 0], [9, 3, 3]])


def inputs(*bases: str) -> Inputs:
    candidates = Candidates.padded(SPANS, ENTITIES, PRIORS, REAL, gold=GOLD)
    return Inputs(text=Tokens.padded(IDS, REAL), candidates=dict.fromkeys(bases, candidates))


def attended(layer: Any, x: Tensor, source: Tensor, seen: Tensor) -> Tensor:
    """A padded layer, hidden keys by a large number, as the released code has it."""
    attention = layer.self_attention.attention
    q, k, v = (
        part(rows).unflatten(-1, (attention.num_heads, -1)).transpose(1, 2)
        for part, rows in ((attention.query, x), (attention.key, source), (attention.value, source))
    )
    scores = q @ k.transpose(-1, -2) / q.shape[-1] ** 0.5 + (~seen[:, None, None]) * -10000.0
    read = attention.out_proj((scores.softmax(-1) @ v).transpose(1, 2).flatten(2))
    return layer.ffn(layer.self_attention.norm(x + read))


def spoken(kar: Any, h: Tensor) -> tuple[Tensor, Tensor]:
    """A knowledge base in padded tensors, step by step: states [B, N, D] and scores [B, S, C]."""
    linker, real_spans = kar.linker, SPANS[..., 0] > -1
    p = linker.down_proj(h)
    pooled = torch.zeros(*SPANS.shape[:2], p.shape[-1])
    for text, place in real_spans.nonzero().tolist():
        first, last = SPANS[text, place].tolist()
        rows = p[text, first : last + 1][REAL[text, first : last + 1]]
        pooled[text, place] = linker.pool.score(rows).softmax(0).T @ rows
    spans = linker.span_norm(pooled)
    for layer in linker.layers:
        spans = attended(layer, spans, spans, real_spans)
    table = linker.table
    vectors = table.vectors[ENTITIES]
    if hasattr(table, "map"):
        vectors = table.map(torch.cat([vectors, table.class_vectors(table.classes[ENTITIES])], dim=-1))
        vectors = torch.where((ENTITIES == NULL)[..., None], table.null, vectors)
    vectors = linker.entity_norm(vectors)
    products = (spans[:, :, None] * vectors).sum(-1) / p.shape[-1] ** 0.5
    scores = linker.score.down_proj(linker.score.up_proj(torch.stack([products, PRIORS], -1)).relu()).squeeze(-1)
    scores = scores.masked_fill(ENTITIES == 0, -10000.0)
    heard = scores
    if isinstance(linker.decision, ByMargin):
        heard = scores.masked_fill(scores < 0, -10000.0)
    mixture = (heard.softmax(-1)[..., None] * vectors).sum(2)
    if isinstance(linker.decision, ByMargin):
        mixture[(scores < 0).all(-1)] = table.null
    told = kar.told_norm(spans + mixture)
    return kar.norm(h + kar.up_proj(attended(kar.read, p, told, real_spans))), scores


@pytest.mark.parametrize(
    "bases", [{"wiki": WIKI}, {"wordnet": WORDNET}, BASES, {"a": {**WORDNET, "decision": "margin"}}]
)
@torch.no_grad()
def test_ragged_recontextualisation_is_the_padded_one(bases: dict[str, Any]) -> None:
    """Padding anywhere, texts without mentions, spans that overlap: real rows and real spans are the same."""
    system = built(bases)
    given = inputs(*bases)
    embedded, *depths = system.hidden_states(given)
    h = torch.zeros(*REAL.shape, 16)
    h[REAL] = embedded.x
    for number, layer in enumerate(system.encoder.layers):
        h = attended(layer, h, h, REAL)
        for name in sorted(bases):
            if bases[name]["layer"] == number:
                h, scores = spoken(system.encoder.kars[name], h)
                ours = system.encoder.link(given, name)
                real_spans = SPANS[..., 0] > -1
                kept = ours.candidates.spans[:, 0] >= 0
                torch.testing.assert_close(ours.scores[kept], scores[real_spans], atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(depths[number].x, h[REAL], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(system(given).text, h[REAL], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("layer", [0, 2])
@torch.no_grad()
def test_wanted_rows_are_those_of_the_whole(layer: int) -> None:
    """Also where a base speaks behind the last layer, and another one before it in the same place."""
    system = built({"wiki": {**WIKI, "layer": 2}, "b": {**WIKI, "layer": layer}})
    given = inputs("wiki", "b")
    whole, rows = system(given), torch.tensor([1, 4, 9])
    some = system(given, OutputRows({"text": rows}))
    torch.testing.assert_close(some.text, whole.text[rows])
    torch.testing.assert_close(some.pooled, whole.pooled)


@torch.no_grad()
def test_the_company_of_a_text_changes_nothing() -> None:
    system, given = built(), inputs(*BASES)
    alone = Candidates.padded(SPANS[2:], ENTITIES[2:], PRIORS[2:], REAL[2:])
    one = system(Inputs(text=Tokens.padded(IDS[2:], REAL[2:]), candidates=dict.fromkeys(BASES, alone)))
    torch.testing.assert_close(one.text, system(given).text[-6:])
    torch.testing.assert_close(one.pooled, system(given).pooled[2:])


@torch.no_grad()
def test_no_candidates_are_texts_without_mentions() -> None:
    """And what entities a blank span is given does not matter."""
    system, text = built(), inputs().text
    blank = Candidates.padded(torch.full_like(SPANS, -1), torch.zeros_like(ENTITIES), PRIORS, REAL)
    given = system(Inputs(text=text, candidates=dict.fromkeys(BASES, blank))).text
    torch.testing.assert_close(system(Inputs(text=text)).text, given)
    assert not torch.allclose(system(inputs(*BASES)).text, given, atol=1e-3)


@torch.no_grad()
def test_without_a_base_it_is_the_plain_encoder() -> None:
    plain = bert(**SMALL).eval()
    told = recontextualise(plain, {}).eval()
    given = inputs()
    torch.testing.assert_close(told(given).text, plain(given).text)


@torch.no_grad()
def test_a_knowledge_base_that_adds_nothing_leaves_a_norm() -> None:
    system, given = built({"wiki": WIKI}), inputs("wiki")
    kar = system.encoder.kars["wiki"]
    kar.up_proj.weight.zero_()
    kar.up_proj.bias.zero_()
    before, after = [stop.stream.x for stop in system.encoder.stops(given) if stop.depth == 3]
    torch.testing.assert_close(after, kar.norm(before))


@torch.no_grad()
def test_candidates_reach_rows_behind_regions_too() -> None:
    """Any single stream can be told: in UNITER the text stands beside regions."""
    sizes = {**SMALL, "region_dim": 5}
    system = mm_kptm.build("uniter", heads=(), seed=0, **sizes)
    told = recontextualise(system.encoder, {"wiki": WIKI}).eval()
    regions = mm_kptm.batch.Regions(torch.rand(4, 5), torch.rand(4, 4), mm_kptm.batch.SequenceLayout((1, 1, 2)))
    given = inputs("wiki").with_streams(regions=regions)
    assert told(given).text.shape == (14, 16)
    linked = told.link(given, "wiki")
    first = next(stop for stop in told.stops(given) if stop.base == "wiki")
    assert first.linked is not None
    torch.testing.assert_close(first.linked.scores, linked.scores)
    assert linked.candidates.spans[-1].tolist() == [10, 15]  # its 14 tokens stand before and between 4 regions


def test_the_margin_loss_is_the_ranking_loss() -> None:
    given = inputs("wiki").candidates["wiki"]  # type: ignore[index]
    scores = torch.randn(given.entities.shape, generator=torch.Generator().manual_seed(0))
    real = given.entities > 0
    signs = torch.where(given.entities == given.gold[:, None], 1.0, -1.0)[real]  # type: ignore[index]
    expected = F.margin_ranking_loss(scores[real], torch.zeros_like(signs), signs, margin=0.2)
    losses, spans = ByMargin().losses(scores, given)
    torch.testing.assert_close(losses.mean(), expected)
    assert spans.tolist() == real.nonzero()[:, 0].tolist()


def test_a_decision_names_entities() -> None:
    given = inputs("wiki").candidates["wiki"]  # type: ignore[index]
    scores = torch.tensor(
        [[1.0, 2.0, -9e3], [-9e3, -9e3, -0.1], [-9e3] * 3, [0.1, 0.3, 0.2], [0.5, -9e3, -9e3], [0.0] * 3]
    )
    assert ByMargin().named(scores, given).tolist() == [PADDING, PADDING, PADDING, 8, 5, PADDING]
    assert BySoftmax().named(scores, given).tolist()[1:5] == [19, PADDING, 8, 5]


def test_linking_is_measured_text_by_text() -> None:
    system, given = built(), inputs(*BASES)
    for name in BASES:
        objective = EntityLinking(name)
        assert objective.name == f"entity-linking-{name}"
        losses, owners = objective.losses(system, objective.prepare(given))
        measured = objective.measure(system, given)
        torch.testing.assert_close(measured[0], losses[owners == 0].mean())
        torch.testing.assert_close(measured[1], losses.mean())  # a text without mentions
        torch.testing.assert_close(objective.loss(system, given), losses.mean())


def test_the_first_stage_trains_linkers_only() -> None:
    system = built()
    linker_only(system)
    trained = {name for name, part in system.named_parameters() if part.requires_grad}
    assert trained
    assert all(".linker." in name for name in trained)
    assert not any(re.search(r"table\.(vectors|classes)", name) for name in trained)
    for name in BASES:
        EntityLinking(name).loss(system, inputs(*BASES)).backward()
    reached = {name for name, part in system.named_parameters() if part.grad is not None}
    assert reached <= trained
    # the null of a base is told, not linked; where its choice is forced it is not even that
    assert {name for name in trained - reached if "null" not in name} == set()


def test_the_published_sizes_are_the_released_ones() -> None:
    with torch.device("meta"):
        system = mm_kptm.build("knowbert", heads=())
    assert system.encoder.behind == {"wiki": 9, "wordnet": 10}
    assert system.encoder.kars["wiki"].linker.table.vectors.shape[1] == 300
    assert system.encoder.kars["wordnet"].linker.down_proj.out_features == 200
    with torch.device("meta"):
        assert mm_kptm.build("knowbert-wordnet", heads=()).encoder.behind == {"wordnet": 9}


def test_a_checkpoint_tells_its_sizes_without_a_configuration(tmp_path: Path) -> None:
    """All but heads, layers and decisions, which are then the released ones."""
    save_file(load_file(OFFICIAL / "weights.safetensors"), tmp_path / "model.safetensors")
    told = {"layer": 1, "read_heads": 4}, {"layer": 2, "read_heads": 2, "decision": "softmax"}
    with pytest.raises(UserError, match=r"num_layers|nothing fills|shapes"):
        mm_kptm.load("knowbert", tmp_path, num_heads=4)
    config = json.loads((OFFICIAL / "config.json").read_text())
    described = {"model": {"soldered_layers": config["soldered_layers"], "soldered_kgs": {}}}
    for name, sizes in zip(("wiki", "wordnet"), told, strict=True):
        part = config["soldered_kgs"][name]
        linker = {"loss_type": part["loss_type"], "span_encoder_config": part["span_encoder_config"]}
        kar = {"entity_linker": linker, "span_attention_config": part["span_attention_config"]}
        described["model"]["soldered_kgs"][name] = kar
        assert sizes["layer"] == config["soldered_layers"][name]
    (tmp_path / "config.json").write_text(json.dumps(described))
    ours = mm_kptm.load("knowbert", tmp_path, num_heads=4, num_layers=4)
    theirs = mm_kptm.load("knowbert", OFFICIAL)
    assert ours.sizes == theirs.sizes


def test_spans_that_are_no_tokens_are_refused() -> None:
    with pytest.raises(UserError, match=r"span 0 of text 0 is columns 0 to 2, which are no tokens of it; a span has"):
        Candidates.padded(torch.tensor([[[0, 2]]]), ENTITIES[:1, :1], PRIORS[:1, :1], REAL[:1])
    with pytest.raises(UserError, match=r"span 0 of text 0 is columns 4 to 3"):
        Candidates.padded(torch.tensor([[[4, 3]]]), ENTITIES[:1, :1], PRIORS[:1, :1], REAL[:1])


def test_candidates_that_do_not_fit_are_refused() -> None:
    system, given = built({"wiki": WIKI}), inputs("wiki")
    far = replace(given.candidates["wiki"], entities=given.candidates["wiki"].entities + 30)  # type: ignore[index]
    with pytest.raises(UserError, match="a candidate is entity 49, but the entities of wiki are 0 to 19; number them"):
        system(replace(given, candidates={"wiki": far}))
    with pytest.raises(UserError, match="there are candidates for news, but wiki speak here"):
        system(replace(given, candidates={"news": far}))
    with pytest.raises(UserError, match="3 texts have candidates for wiki in 2 texts"):
        system(replace(given, candidates={"wiki": Candidates.none(2, torch.device("cpu"))}))
    with pytest.raises(UserError, match="no knowledge base 'news' speaks here; there are wiki"):
        system.encoder.link(given, "news")
    with pytest.raises(UserError, match="mentions are to be linked to wiki, but the inputs have no candidates for it"):
        system.encoder.link(inputs(), "wiki")
    with pytest.raises(UserError, match="mentions are to be linked to wiki, but the inputs have no candidates for it"):
        EntityLinking("wiki").prepare(inputs())
    unsaid = replace(given.candidates["wiki"], gold=None)  # type: ignore[index]
    with pytest.raises(UserError, match="scored against the entities that are meant, but the candidates have no gold"):
        EntityLinking("wiki").prepare(replace(given, candidates={"wiki": unsaid}))
    with pytest.raises(UserError, match="trains the linker of a knowledge base, but this system has none"):
        EntityLinking("wiki").loss(mm_kptm.build("bert", **SMALL), given)


@pytest.mark.parametrize(
    ("sizes", "message"),
    [
        ({"layer": 3}, "wiki cannot speak behind layer 3; the layers are 0 to 2"),
        ({"layers": 3}, "the knowledge base wiki has no size 'layers'; it has layer, num_entities"),
        ({"num_entities": 3}, "a table of 3 entities has no room for @@PADDING@@, @@UNKNOWN@@, @@MASK@@, @@NULL@@"),
        (
            {"null": "learned"},
            "wiki holds vectors as they are, so its null cannot be 'learned'; it can be none or table",
        ),
        ({"raw_dim": 4}, "wiki holds synsets through a map, so its null cannot be 'table'; it can be none or learned"),
        ({"decision": "vote"}, "wiki cannot decide by 'vote'; there are margin and softmax"),
        ({"null": "none"}, "wiki decides by a margin and so needs a vector of no entity; its null cannot be none"),
    ],
)
def test_sizes_that_make_no_sense_are_refused(sizes: dict[str, Any], message: str) -> None:
    with pytest.raises(UserError, match=re.escape(message)):
        built({"wiki": {**WIKI, **sizes}})


def test_a_base_without_a_layer_is_refused() -> None:
    with pytest.raises(UserError, match="the knowledge base news has no layer: the number of the layer that it speaks"):
        recontextualise(bert(**SMALL), {"news": {}})


def test_candidates_travel_with_their_inputs() -> None:
    moved = inputs("wiki").to("meta")
    assert moved.candidates is not None
    assert moved.candidates["wiki"].spans.device.type == "meta"
    assert moved.candidates["wiki"].layout.lengths == (2, 1, 3)
