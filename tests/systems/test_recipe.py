"""Recipes are found by looking, and what they do not know is answered with what they do."""

import types
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
import torch
from torch import nn

import mm_kptm
from mm_kptm.errors import UserError
from mm_kptm.systems import discovery
from mm_kptm.systems.assembly import add, add_head
from mm_kptm.systems.discovery import additions, catalogue, find
from mm_kptm.systems.recipe import Addition, Recipe
from mm_kptm.systems.rules import Rename
from mm_kptm.systems.system import System


def toy(*, dim: int = 4, activation: str = "gelu", share: float = 0.5) -> nn.Module:
    """One linear layer."""
    encoder = nn.Linear(dim, dim)
    encoder.dim = dim  # type: ignore[assignment]
    return encoder


TOY = Recipe(
    name="toy-base",
    family="toy",
    paper="Nobody 2020",
    build=toy,
    reads=frozenset({"text"}),
    weights=(Rename("w", "encoder.weight"),),
    config_keys={"hidden_size": "dim"},
)


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """An installed project that adds recipes through the entry point group."""
    module = types.ModuleType("toys")

    class Entry(EntryPoint):
        def load(self) -> types.ModuleType:
            return module

    entry = Entry("toys", "toys", "mm_kptm.recipes")
    monkeypatch.setattr(discovery, "entry_points", lambda group: EntryPoints([entry]).select(group=group))
    for found in (catalogue, additions):
        found.cache_clear()
    yield module
    for found in (catalogue, additions):
        found.cache_clear()


def test_the_catalogue_is_in_alphabetical_order() -> None:
    assert list(catalogue()) == sorted(catalogue())
    assert {"bert-base", "bert-large", "mbert-base"} <= catalogue().keys()
    assert all(name == recipe.name for name, recipe in catalogue().items())


def test_a_plug_in_joins_the_catalogue(plug_in: types.ModuleType) -> None:
    plug_in.TOY = TOY  # type: ignore[attr-defined]
    assert catalogue()["toy-base"] is TOY
    system = mm_kptm.build("toy", dim=6)
    assert isinstance(system, System) and system.encoder.weight.shape == (6, 6)


class Scaled(nn.Module):
    """An encoder whose states a number that is learnt multiplies."""

    def __init__(self, encoder: nn.Module, *, by: float = 1.0) -> None:
        super().__init__()
        self.encoder = encoder
        self.by = nn.Parameter(torch.tensor(by))


SCALE = Addition(
    "scale", "Nobody 2020", Scaled, heads={"guess": lambda encoder, *, num_guesses: nn.Linear(4, num_guesses)}
)


def test_what_a_plug_in_adds_is_saved_and_comes_back(plug_in: types.ModuleType, tmp_path: Path) -> None:
    """Parts around an encoder and a head beside it, which the recipe knows nothing of, in any order of adding."""
    plug_in.TOY, plug_in.SCALE = TOY, SCALE  # type: ignore[attr-defined]
    system = mm_kptm.build("toy")
    add_head(system, "guess", {"num_guesses": 3})
    add(system, "scale", {"by": 2.5})
    mm_kptm.save(system, tmp_path)
    back = mm_kptm.load("toy", tmp_path)
    assert isinstance(back.encoder, Scaled) and not back.encoder.training
    assert (back.added, back.head_sizes) == ({"scale": {"by": 2.5}}, {"guess": {"num_guesses": 3}})
    torch.testing.assert_close(back.state_dict(), system.state_dict(), rtol=0, atol=0)
    assert "guess" not in mm_kptm.load("toy", tmp_path, heads=[]).heads


def test_two_additions_of_one_name_are_refused(plug_in: types.ModuleType) -> None:
    plug_in.SCALE, plug_in.TWIN = SCALE, replace(SCALE, paper="Somebody 2021")  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"^two additions are called 'scale'; rename the one in toys$"):
        additions()


def test_two_recipes_of_one_name_are_refused(plug_in: types.ModuleType) -> None:
    plug_in.TOY, plug_in.TWIN = TOY, replace(TOY, paper="Somebody 2021")  # type: ignore[attr-defined]
    with pytest.raises(UserError, match=r"^two recipes are called 'toy-base'; rename the one in toys$"):
        catalogue()


def test_one_recipe_under_two_names_of_its_module_is_one(plug_in: types.ModuleType) -> None:
    plug_in.TOY = plug_in.ALIAS = TOY  # type: ignore[attr-defined]
    assert catalogue()["toy-base"] is TOY


def test_a_family_is_its_published_base() -> None:
    assert find("bert").name == "bert-base"
    assert find("bert-large").name == "bert-large"


@pytest.mark.parametrize(
    ("name", "hint"), [("brt-base", "did you mean bert-base?"), ("qqqq", "`mm-kptm list systems` shows all of them")]
)
def test_an_unknown_system_is_answered_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(UserError) as raised:
        find(name)
    assert str(raised.value) == f"no system is called {name!r}; {hint}"


def test_sizes_win_over_defaults_and_given_over_sizes() -> None:
    wide = replace(TOY, sizes={"dim": 8})
    assert wide.published_sizes()["dim"] == 8
    assert wide.resolved_sizes({"dim": 2})["dim"] == 2
    assert wide.resolved_sizes({})["activation"] == "gelu"


def test_published_configurations_size_what_they_name() -> None:
    assert TOY.configured_sizes({"hidden_size": 12, "torchscript": True}) == {"dim": 12}


def test_an_unknown_size_is_refused_with_those_that_exist() -> None:
    with pytest.raises(UserError, match=r"^toy-base has no size 'dims'; did you mean dim\?$"):
        TOY.resolved_sizes({"dims": 3})
    with pytest.raises(UserError, match=r"^toy-base has no size 'qqqq'; it has dim, activation, share$"):
        TOY.resolved_sizes({"qqqq": 3})


@pytest.mark.parametrize(
    ("theirs", "ours"),
    [
        ("hidden_size", "dim"),
        ("num_hidden_layers", "num_layers"),
        ("num_attention_heads", "num_heads"),
        ("intermediate_size", "ffn_dim"),
    ],
)
@pytest.mark.parametrize("name", ["uniter-base", "bert-base", "lxmert-base", "xlm-15", "kbert-base"])
def test_a_size_by_the_name_of_another_library_is_told_its_name_here(name: str, theirs: str, ours: str) -> None:
    with pytest.raises(UserError, match=rf"^{name} has no size '{theirs}'; it is called {ours} here$"):
        mm_kptm.build(name, **{theirs: 8})


@pytest.mark.parametrize("value", [3.5, "8"])
def test_a_size_that_is_no_whole_number_is_refused(value: object) -> None:
    with pytest.raises(UserError) as raised:
        TOY.resolved_sizes({"dim": value})
    assert str(raised.value) == f"the size dim of toy-base must be a whole number, not {value!r}"


def test_a_recipe_has_no_knowledge_of_who_asks() -> None:
    """A size of a recipe is never changed by building from it."""
    before = dict(find("bert-base").published_sizes())
    mm_kptm.build("bert-base", dim=8, num_heads=2, num_layers=1, ffn_dim=8, vocab_size=9)
    assert find("bert-base").published_sizes() == before
