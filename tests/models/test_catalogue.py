"""What holds for every recipe of the catalogue."""

import inspect
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

import mm_kptm
from mm_kptm.batch import Candidates, Detected, Entities, Images, Inputs, Regions, SequenceLayout, Tokens
from mm_kptm.knowledge.fusion.node_embedding import TiedCandidates
from mm_kptm.knowledge.lexicons.ngrams import N_GRAMS
from mm_kptm.nn.ragged import self_attention_layout
from mm_kptm.nn.visibility import Causal
from mm_kptm.objectives.spec import specs
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, Same
from mm_kptm.systems.system import System
from tests.small_towers import SIZES as TOWERS

SMALL: dict[str, Any] = {
    "dim": 8,
    "num_heads": 2,
    "num_layers": 2,
    "ffn_dim": 12,
    "vocab_size": 30,
    "max_positions": 20,
    "region_dim": 6,
    "num_region_classes": 7,
    "region_states": 8,
    "region_ffn_dim": 12,
    "cross_dim": 8,
    "entity_dim": 4,
    "entity_heads": 2,
    "entity_ffn_dim": 6,
    "num_entities": 12,
    "num_relations": 5,
    "num_ngrams": 12,
    "num_ngram_layers": 1,
    "adapter_dim": 6,
    "adapter_heads": 2,
    "adapter_ffn_dim": 10,
    "bases": {
        "wiki": {"num_entities": 9, "entity_dim": 4, "span_ffn_dim": 5, "read_ffn_dim": 6, "threshold": -10.0},
        "wordnet": {"num_entities": 9, "entity_dim": 4, "raw_dim": 3, "span_ffn_dim": 5, "read_ffn_dim": 6},
    },
}
RECIPES = list(mm_kptm.catalogue().values())


def tiny(recipe: Recipe, **more: Any) -> System:
    """A system of this recipe that is as small as its builder allows."""
    takes = inspect.signature(recipe.build).parameters
    sizes = TOWERS.get(recipe.family, {})
    if not sizes or recipe.family == "dual-tower-regions":
        sizes = {name: size for name, size in SMALL.items() if name in takes} | sizes
    return mm_kptm.build(recipe.name, seed=0, **sizes, **more)


@pytest.fixture(params=RECIPES, ids=lambda recipe: recipe.name)
def recipe(request: pytest.FixtureRequest) -> Recipe:
    return request.param


def test_a_recipe_is_documented(recipe: Recipe) -> None:
    """A paper with a year, a builder and heads that say what they are, sizes that are all arguments by name."""
    assert any(word.strip(",.")[:4].isdigit() for word in recipe.paper.split()), recipe.paper
    for built in (recipe.build, *recipe.heads.values()):
        assert built.__doc__, built
    assert all(p.kind is p.KEYWORD_ONLY for p in inspect.signature(recipe.build).parameters.values())
    assert all(rule.because for rule in recipe.weights if isinstance(rule, Drop))


def test_a_recipe_is_consistent(recipe: Recipe) -> None:
    assert set(recipe.default_heads) <= set(recipe.heads)
    assert set(recipe.objective_arguments) <= specs().keys()
    assert set(recipe.sizes) <= set(recipe.published_sizes())
    assert set(recipe.config_keys.values()) <= set(recipe.published_sizes())
    assert recipe.reads <= {"text", "regions", "images", "entities", "candidates", "languages", "target"}
    assert len(set(recipe.weights)) == len(recipe.weights), "a rule that stands twice is reached once"


def test_every_head_of_a_recipe_builds_tiny(recipe: Recipe) -> None:
    assert set(tiny(recipe, heads=list(recipe.heads)).heads) == set(recipe.heads)


def test_the_seed_decides_the_weights(recipe: Recipe) -> None:
    first, second = tiny(recipe), tiny(recipe)
    assert all(torch.equal(a, b) for a, b in zip(first.parameters(), second.parameters(), strict=True))


def test_a_system_comes_back_from_its_folder(recipe: Recipe, tmp_path: Path) -> None:
    system = tiny(recipe)
    mm_kptm.save(system, tmp_path)
    back = mm_kptm.load(recipe.name, tmp_path)
    assert (back.recipe, back.sizes, back.head_sizes) == (system.recipe, system.sizes, system.head_sizes)
    ours, theirs = dict(system.named_parameters()), dict(back.named_parameters())
    assert ours.keys() == theirs.keys()
    assert all(torch.equal(parameter, theirs[name]) for name, parameter in ours.items())


#: Parameters that no file with names of parameters was published with, by family.
UNPUBLISHED = {
    "ernie2": re.compile(r"heads\.(capitalization|document|sentence|discourse|ir)-?\w*\..*"),
    "simclr": re.compile(r"encoder\.backbone\.conv1\..*"),  # the small network has another stem than ResNet-50
    "dual-tower": re.compile(".*"),  # towers of any two systems
    "dual-tower-regions": re.compile(".*"),
    "wklm": re.compile(r"heads\.entity-replacement\..*"),
    "libert": re.compile(r"heads\.lexical-relation\.out\..*"),
    "sensebert": re.compile(r"encoder\.embed\.text\.(sense\.weight|allowed)|heads\.supersenses\..*"),
}


def test_every_parameter_is_the_target_of_a_rule(recipe: Recipe) -> None:
    """The key map covers the encoder and the heads of the published pretraining."""
    targets: list[str] = []
    for rule in recipe.weights:
        if not isinstance(rule, Drop | Same):
            targets += [rule.ours] if isinstance(rule.ours, str) else rule.ours
    unpublished = UNPUBLISHED.get(recipe.family)
    for name, _ in tiny(recipe).named_parameters():
        if unpublished is not None and unpublished.fullmatch(name):
            continue
        assert any(fits(target, name) for target in targets), f"no rule of {recipe.name} fills {name}"


def fits(target: str, name: str) -> bool:
    """Whether a rule that writes to ``target`` can write to ``name``; a field in braces stands for all but dots."""
    pattern = "".join("[^.]+" if part.startswith("{") else re.escape(part) for part in re.split(r"({\w+})", target))
    return re.fullmatch(pattern, name) is not None


def inputs_for(recipe: Recipe) -> Inputs:
    """Two small examples with every stream that the recipe reads."""
    draw = torch.Generator().manual_seed(0)
    text = Tokens.of([[4, 9, 5], [7, 3]], segments=[[0, 0, 1], [0, 1]], languages=[[0, 0, 0], [1, 1]])
    inputs = Inputs(text=text)
    if "regions" in recipe.reads:
        width = SMALL["region_dim" if "region_dim" in inspect.signature(recipe.build).parameters else "dim"]
        # side by side, as the cells of a grid are
        boxes = torch.tensor([[i / n, 0.0, (i + 1) / n, 1.0] for n in (2, 3) for i in range(n)])
        regions = Regions(
            torch.randn(5, width, generator=draw),
            boxes,
            SequenceLayout((2, 3)),
            masked=torch.tensor([False, True, False, False, True]),
            classes=torch.rand(5, SMALL["num_region_classes"], generator=draw).softmax(1),
            objects=Detected(torch.tensor([0, 3, 6, 2, 2]), torch.rand(5, generator=draw)),
        )
        inputs = inputs.with_streams(regions=regions)
    if "images" in recipe.reads:
        inputs = inputs.with_streams(images=Images(pixels=torch.rand(2, 3, 16, 16, generator=draw)))
    if "entities" in recipe.reads:
        linked = torch.tensor([True, False, True, False, True])
        vectors = torch.randn(5, SMALL["entity_dim"], generator=draw) * linked[:, None]
        inputs = inputs.with_streams(entities=Entities(vectors, linked))
    if "candidates" in recipe.reads:
        spans = torch.tensor([[0, 1], [1, 2], [3, 3]])
        entities, priors = torch.tensor([[4, 5], [6, 0], [7, 8]]), torch.tensor([[0.4, 0.6], [1.0, 0.0], [0.5, 0.5]])
        linking = Candidates(spans, SequenceLayout((2, 1)), entities, priors, gold=entities[:, 0])
        names = [N_GRAMS] if recipe.family == "zen" else SMALL["bases"]
        inputs = replace(inputs, candidates=dict.fromkeys(names, linking))
    if "target" in recipe.reads:
        inputs = inputs.with_streams(
            target=Tokens.of([[4, 8], [2, 1, 6]], languages=[[1, 1], [0, 0, 0]], attention_mask=Causal())
        )
    return inputs


def scores(head: nn.Module, rows: torch.Tensor) -> torch.Tensor:
    """What a head makes of some rows, with all that it wants beside them."""
    wants = inspect.signature(head.forward).parameters
    if "candidates" in wants:
        table = isinstance(head, TiedCandidates)  # which takes numbers of its rows, others take the vectors themselves
        return head(rows, torch.arange(3) if table else torch.ones(3, SMALL["entity_dim"]))
    if "tails" in wants:
        return head(rows, head.relation(torch.arange(len(rows))), rows.flip(0))
    if "places" in wants:
        return head(rows.repeat(1, 2), torch.zeros(len(rows), dtype=torch.long))
    if "attention_layout" in wants:
        return head(rows, self_attention_layout(SequenceLayout((3, 2))))
    widths = [part.in_features for part in head.modules() if isinstance(part, nn.Linear)]
    together = widths[0] // rows.shape[1] if widths else 1  # how many rows it takes side by side
    return head(rows.repeat(1, together))


#: Parameters that were published though nothing reads what they make, or as constants, or that are read only where a
#: stream is missing, by family.
UNREAD = {
    "ernie_thu": re.compile(r"encoder\.fusions\.1\.fuse\.entity_(out|norm)\..*"),
    "knowbert": re.compile(r"encoder\.kars\.\w+\.linker\.table\.(vectors|classes|null)"),
    "kepler": re.compile(r"heads\.knowledge-embedding\.margin"),
    "sensebert": re.compile(r"encoder\.embed\.text\.allowed"),
    "vl-bert": re.compile(r"encoder\.embed\.no_image"),
    # the loss reads the scale, the texts of AltCLIP are pooled by a head of its own, queues follow by momentum
    **dict.fromkeys(
        TOWERS,
        re.compile(
            r"encoder\.similarity\.(log_scale|temperature|bias)|encoder\.text\.encoder\.pooler\..*"
            r"|heads\.(two-queues|momentum-queue)\..*"
        ),
    ),
}


def computes(head: nn.Module) -> bool:
    """Whether a head maps states to scores; a momentum queue holds vectors and has no ``forward``."""
    return type(head).forward is not nn.Module.forward


def test_a_gradient_reaches_every_parameter(recipe: Recipe) -> None:
    """Of the encoder, and of every head of the published pretraining."""
    system = tiny(recipe)
    for part in system.modules():
        if isinstance(part, nn.LayerNorm | nn.BatchNorm2d) and not part.weight.any():
            # one that starts at zero lets no gradient through (VL-BERT's visual norms, the ends of residual blocks)
            nn.init.ones_(part.weight)
    encoded = system(inputs_for(recipe))
    parts = [*encoded.states.values(), encoded.pooled]
    rows = encoded["target" if "target" in recipe.reads else "text" if "text" in recipe.reads else "images"]
    parts += [scores(head, rows) for head in system.heads.values() if computes(head)]
    torch.stack([(part * torch.randn_like(part)).sum() for part in parts]).sum().backward()
    unread = UNREAD.get(recipe.family)
    for name, parameter in system.named_parameters():
        if unread is not None and unread.fullmatch(name):
            assert parameter.grad is None, f"{name} is read after all"
            continue
        assert parameter.grad is not None, name
        # a bias on all that a softmax compares moves it not at all, so its true gradient is zero
        assert name.endswith(("key.bias", "pool.score.bias", "score.down_proj.bias")) or parameter.grad.any(), name
