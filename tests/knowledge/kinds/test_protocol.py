"""Ways of giving knowledge are found by looking, and nothing else names them."""

import re
import types
from collections.abc import Iterator
from dataclasses import replace
from importlib.metadata import EntryPoint, EntryPoints
from pathlib import Path

import pytest
from torch import nn

import mm_kptm
from mm_kptm.errors import UserError
from mm_kptm.experiment.null_arms import arms_of, nulls_of
from mm_kptm.experiment.settings import EncoderSettings, Experiment, KnowledgeSettings
from mm_kptm.knowledge.kinds.protocol import ENTITIES, KnowledgeKind, find_kind, knowledge_kinds
from mm_kptm.suites.number_world.datasets.settings import NumberWorldData
from mm_kptm.systems import discovery
from mm_kptm.systems.discovery import additions, find
from mm_kptm.systems.recipe import Addition

PACKAGE = Path(mm_kptm.__file__).parent
NAMES = ["entity-fusion", "kar", "knowledge-embedding", "region-fusion", "sentence-tree", "side-adapter"]


@pytest.fixture
def plug_in(monkeypatch: pytest.MonkeyPatch) -> Iterator[types.ModuleType]:
    """An installed project that adds ways of giving knowledge through the entry point group."""
    module = types.ModuleType("my_kinds")

    class Entry(EntryPoint):
        def load(self) -> types.ModuleType:
            return module

    entry = Entry("my_kinds", "my_kinds", "mm_kptm.kinds")
    monkeypatch.setattr(discovery, "entry_points", lambda group: EntryPoints([entry]).select(group=group))
    for found in (knowledge_kinds, additions):
        found.cache_clear()
    yield module
    for found in (knowledge_kinds, additions):
        found.cache_clear()


def experiment(**knowledge: object) -> Experiment:
    encoder = EncoderSettings("uniter-base")
    return Experiment("x", encoder, NumberWorldData(), "knowledge-vqa", KnowledgeSettings(**knowledge))  # type: ignore[arg-type]


def test_the_catalogue_is_in_alphabetical_order() -> None:
    assert list(knowledge_kinds()) == NAMES
    assert all(name == kind.name and kind.paper for name, kind in knowledge_kinds().items())


def test_one_file_is_all_that_a_way_needs(plug_in: types.ModuleType) -> None:
    """Its addition is found as well, so that saved folders can name it."""

    def shift(encoder: nn.Module, *, by: float = 1.0) -> nn.Module:
        return nn.Sequential(encoder)

    plug_in.SHIFT = Addition("shift", "Nobody 2020", shift)  # type: ignore[attr-defined]
    plug_in.KIND = KnowledgeKind(  # type: ignore[attr-defined]
        "shift", "Nobody 2020", ENTITIES, addition=plug_in.SHIFT, facts=("none", "true", "swapped")
    )
    assert find_kind("shift") is plug_in.KIND and additions()["shift"] is plug_in.SHIFT
    settings = experiment(kind="shift")
    assert [name for name, _ in nulls_of(settings) if name.endswith("facts")] == ["no-facts"]  # it knows no random ones
    assert {arm.name for arm in arms_of([settings, replace(experiment(), name="bare")], nulls=True)} >= {"x-no-facts"}


def test_the_name_of_a_way_stands_in_its_file_and_in_no_other() -> None:
    """But in those of the objective that shares it, of a demonstration and in the words of help and messages."""
    name = re.compile(rf'"({"|".join(NAMES)})"')
    found = {str(path.relative_to(PACKAGE)) for path in PACKAGE.rglob("*.py") if name.search(path.read_text())}
    assert found == {
        "knowledge/fusion/__init__.py",  # names the module kar
        "knowledge/kinds/sentence_tree.py",
        "suites/atlas/demo/arms.py",
        "knowledge/kinds/entity_fusion.py",
        "knowledge/kinds/kar.py",
        "knowledge/kinds/region_fusion.py",
        "knowledge/kinds/side_adapter.py",
        "knowledge/kinds/knowledge_embedding.py",
        "knowledge/objectives/knowledge_embedding.py",
        "knowledge/recipes/kepler.py",
        "tasks/knowledge/described_triples.py",
        "suites/number_world/demo/arms.py",
    }


def test_an_unknown_way_is_answered_with_those_that_there_are() -> None:
    with pytest.raises(UserError, match=r"no knowledge.kind is called 'kars'; did you mean kar\?"):
        find_kind("kars")


def test_parts_follow_from_what_a_recipe_reads() -> None:
    fusion = find_kind("entity-fusion")
    assert [part.name for part in fusion.parts(find("bert-base"), trainable=True)] == [
        "entity-fusion",
        "entity-vectors",
    ]
    assert [part.name for part in fusion.parts(find("ernie-thu-base"), trainable=True)] == ["entity-vectors"]
    assert not find_kind("knowledge-embedding").parts(find("bert-base"), trainable=False)


def test_facts_that_a_way_cannot_be_given_are_refused() -> None:
    with pytest.raises(
        UserError,
        match=r"facts is swapped, but facts of kind side-adapter are learnt before a question is asked and can only be "
        r"one of none, true, random; how a model answers when it is given others is the split test-swapped",
    ):
        KnowledgeSettings("side-adapter", "swapped")
