"""Facts reach every system that reads text: as branches of its sentence, and as vectors in any single stream."""

from dataclasses import replace

import pytest
import torch

import mm_kptm
from mm_kptm import cli
from mm_kptm.adaptation.side_adapter import Added
from mm_kptm.batch import Detected, Entities, Inputs, Regions, SequenceLayout, Tokens
from mm_kptm.datasets.protocol import PreparedData
from mm_kptm.errors import UserError
from mm_kptm.experiment.knowledge import apply_knowledge, reinitialise
from mm_kptm.experiment.settings import KnowledgeSettings
from mm_kptm.knowledge.fusion.ernie import FusedStream, fuse
from mm_kptm.knowledge.kinds.protocol import knowledge_kinds
from mm_kptm.models.single import SingleStream
from mm_kptm.models.two_stream import TwoStream
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.visibility import Branches
from mm_kptm.preprocessing.inputs import mentions
from mm_kptm.systems.system import System
from tests.small_towers import SIZES

READERS = [name for name, recipe in mm_kptm.catalogue().items() if "text" in recipe.reads]
LINKED = torch.tensor([0, 0, 1, 0, 0])  #: the number of the entity that each token names
FIRST, OTHER = (torch.stack([torch.zeros(8), vector]) for vector in torch.randn(2, 8, generator=torch.manual_seed(0)))
TREE = Branches(
    torch.tensor([0, 1, 1, 1, 2]), torch.tensor([0, 0, 1, 1, 0])
)  # two tokens hang from the word in the middle


def small(name: str, **given: int) -> System:
    """A system of two layers, or one of each kind, in a few thousand parameters."""
    published = mm_kptm.catalogue()[name].published_sizes()
    sizes = {"dim": 16, "num_heads": 2, "ffn_dim": 32, "vocab_size": 50, "region_dim": 16, "max_positions": 64}
    sizes["num_region_classes"] = 7
    sizes["bases"] = {"wiki": {"num_entities": 9, "entity_dim": 8}}
    layers = {size: 2 if size == "num_layers" else 1 for size in published if size.endswith("_layers")}
    chosen = {size: value for size, value in (sizes | layers | given).items() if size in published}
    chosen |= SIZES.get(mm_kptm.catalogue()[name].family, {})
    system = mm_kptm.build(name, heads=[], **chosen)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        # at the published 0.02 so narrow a model hardly moves; T5 does not divide its scores
        bert_init(system, 0.1 if system.recipe.startswith(("t5", "mt5")) else 0.3)
    return system


#: The kinds that add parts to an encoder.
PARTS = [name for name, kind in knowledge_kinds().items() if kind.adds_parts]
#: The systems that fusion can be added to.
PLAIN = [name for name in READERS if type(small(name).encoder) is SingleStream]


def inputs(name: str, ids=(5, 6, 7, 8, 9)) -> Inputs:
    """A sentence, with two regions for a system that reads them."""
    generator, reads = torch.Generator().manual_seed(0), mm_kptm.catalogue()[name].reads
    regions = Regions(
        torch.rand(2, 16, generator=generator),
        torch.tensor([[0.0, 0.0, 0.5, 1.0], [0.5, 0.0, 1.0, 1.0]]),
        SequenceLayout((2,)),
        classes=torch.rand(2, 7, generator=generator).softmax(1),
        objects=Detected(torch.tensor([0, 3]), torch.rand(2, generator=generator)),
    )
    return Inputs(
        text=Tokens.of([ids], languages=[[0] * len(ids)]),
        regions=regions if "regions" in reads else None,
        target=Tokens.of([[5, 7]], languages=[[0, 0]]) if "target" in reads else None,
    )


@pytest.mark.parametrize("name", READERS)
@torch.no_grad()
def test_a_tree_is_heeded_by_every_system_that_reads_text(name):
    """Branches change what is read, and a fact that hangs from a word arrives at the sentence through it."""
    system, plain = small(name), inputs(name)
    tree = plain.with_streams(text=replace(plain.text, attention_mask=TREE))
    other = inputs(name, ids=(5, 6, 11, 12, 9))
    told_other = other.with_streams(text=replace(other.text, attention_mask=TREE))
    if name.startswith("multifit") or name in ("filter", "siglip", "brivl", "brivl-2", "laser"):
        with pytest.raises(UserError, match="no room for facts that hang from"):
            system(tree)
        return
    read = system(tree).pooled
    assert not torch.allclose(read, system(plain).pooled, atol=1e-6)
    assert not torch.allclose(read, system(told_other).pooled, atol=1e-6)


DATA = PreparedData(sources={}, model=System.head, sizes={"entity_dim": 8}, knowledge_bases=("numbers",))


@pytest.mark.parametrize("name", PLAIN)
@torch.no_grad()
def test_candidates_reach_every_plain_single_stream_with_vectors_of_their_own(name):
    system = small(name)
    torch.manual_seed(0)
    apply_knowledge(system, KnowledgeSettings("kar"), DATA)
    bert_init(system.encoder.kars, 0.3)
    told, other, scaled = (
        replace(inputs(name), candidates={"numbers": mentions(LINKED, SequenceLayout((5,)), vectors)})
        for vectors in (FIRST, OTHER, 2 * FIRST)
    )
    assert not torch.allclose(system(told).pooled, system(other).pooled, atol=1e-6)
    assert torch.allclose(system(told).pooled, system(scaled).pooled, atol=1e-5)  # entities are normed


@pytest.mark.parametrize("name", PLAIN)
def test_adapters_stand_beside_every_plain_single_stream(name):
    system = small(name)
    torch.manual_seed(0)
    apply_knowledge(system, KnowledgeSettings("side-adapter"), DATA)
    torch.testing.assert_close(system.encoder.beside(inputs(name)), system(inputs(name)).text)


def test_candidates_of_another_width_are_refused():
    system = small("bert-base")
    apply_knowledge(system, KnowledgeSettings("kar"), DATA)
    told = {"numbers": mentions(LINKED, SequenceLayout((5,)), FIRST[:, :3])}
    with pytest.raises(UserError, match="come with vectors of width 3, but it reads entities of width 8"):
        system(replace(inputs("bert-base"), candidates=told))


def linked_pair(kind: str, name: str) -> tuple[Inputs, Inputs]:
    """The same inputs with one or another fact, in the form that a kind of knowledge reads."""
    plain = inputs(name)
    if kind == "kar":
        layout = SequenceLayout((5,))
        one, other = (replace(plain, candidates={"numbers": mentions(LINKED, layout, v)}) for v in (FIRST, OTHER))
        return one, other
    linked = LINKED.bool()
    one, other = (plain.with_streams(entities=Entities(vectors=v[LINKED], linked=linked)) for v in (FIRST, OTHER))
    return one, other


@pytest.mark.parametrize("kind", ["entity-fusion", "kar"])
@torch.no_grad()
def test_facts_reach_the_text_side_of_a_two_stream_encoder_and_through_it_the_regions(kind):
    system = small("lxmert-base", num_layers=2)
    before = {name: value.clone() for name, value in system.named_parameters()}
    torch.manual_seed(0)
    apply_knowledge(system, KnowledgeSettings(kind), DATA)
    after = dict(system.named_parameters())
    assert isinstance(system.encoder, TwoStream) and before.keys() < after.keys()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    bert_init(system.encoder.text.fusions if kind == "entity-fusion" else system.encoder.text.kars, 0.3)
    one, other = (system(facts) for facts in linked_pair(kind, "lxmert-base"))
    assert not torch.allclose(one.pooled, other.pooled, atol=1e-6)
    assert not torch.allclose(one.regions, other.regions, atol=1e-6)


@torch.no_grad()
def test_adapters_stand_beside_the_text_layers_of_a_two_stream_encoder():
    system, plain = small("lxmert-base", num_layers=2), inputs("lxmert-base")
    bare = system(plain).pooled
    torch.manual_seed(0)
    apply_knowledge(system, KnowledgeSettings("side-adapter"), DATA)
    assert not torch.allclose(system(plain).pooled, bare, atol=1e-6)
    *_, before_meeting, _, _ = system.encoder.hidden_states(plain)  # then a cross step and what each does after it
    torch.testing.assert_close(system.encoder.text.beside(plain), before_meeting.left.x)


@pytest.mark.parametrize("kind", [kind for kind in PARTS if kind != "region-fusion"])
@torch.no_grad()
def test_every_depth_of_a_two_stream_encoder_with_parts_leads_to_its_final_states(kind):
    system, plain = small("lxmert-base", num_layers=2), inputs("lxmert-base")
    apply_knowledge(system, KnowledgeSettings(kind), DATA)
    shown = plain if kind == "side-adapter" else linked_pair(kind, "lxmert-base")[0]
    depths = list(system.hidden_states(shown))
    torch.testing.assert_close(depths[-1].left.x, system(shown).text)
    torch.testing.assert_close(depths[-1].right.x, system(shown).regions)
    assert len(depths) == 1 + len(system.encoder.steps) + (kind == "side-adapter")
    assert system(shown.with_streams(regions=None)).text.shape == (5, 16)


def test_fusion_at_regions_wants_one_stream():
    with pytest.raises(UserError, match=r"^knowledge.kind region-fusion was asked for with lxmert-base, but its parts"):
        apply_knowledge(small("lxmert-base", num_layers=2), KnowledgeSettings("region-fusion"), DATA)


def test_a_two_stream_encoder_without_text_layers_of_its_own_is_refused():
    with pytest.raises(
        UserError, match=r"around an encoder that runs the layers over its text one after the other, wh"
    ):
        apply_knowledge(small("lxmert-base", num_layers=0), KnowledgeSettings("kar"), DATA)


@pytest.mark.parametrize("name", ["ernie-thu-base", "knowbert-wiki", "zen-base"])
def test_adapters_stand_beside_every_encoder_whose_states_can_be_walked(name):
    system = small(name)
    published = system.encoder
    torch.manual_seed(0)
    apply_knowledge(system, KnowledgeSettings("side-adapter"), DATA)
    assert system.encoder.host is published
    torch.testing.assert_close(system.encoder.beside(inputs(name)), system(inputs(name)).text)
    final = system.encoder.fusion
    system.encoder.fusion = Added()
    *_, last = published.hidden_states(inputs(name))
    *_, together = system.hidden_states(inputs(name))
    torch.testing.assert_close(system(inputs(name)).text, together.x)
    assert not torch.allclose(last.x, together.x) and final is not system.encoder.fusion


def test_adapters_beside_another_encoder_come_back_from_a_folder(tmp_path):
    for name in ("lxmert-base", "ernie-thu-base"):
        system = small(name)
        apply_knowledge(system, KnowledgeSettings("side-adapter"), DATA)
        mm_kptm.save(system, tmp_path / name)
        again = mm_kptm.load(str(tmp_path / name))
        torch.testing.assert_close(again(inputs(name)).pooled, system(inputs(name)).pooled)


OWN_RUN = [
    (kind, name) for name in ("knowbert-wiki", "ernie-thu-base", "zen-base") for kind in ("entity-fusion", "kar")
]


@pytest.mark.parametrize(("kind", "name"), [pair for pair in OWN_RUN if pair != ("entity-fusion", "ernie-thu-base")])
def test_nothing_is_put_between_layers_that_run_in_a_way_of_their_own(kind, name):
    """An encoder that reads facts in its own way would lose that way."""
    with pytest.raises(
        UserError, match=rf"{kind} was asked for with {name}, but its parts are put around an encoder th"
    ):
        apply_knowledge(small(name), KnowledgeSettings(kind), DATA)


def test_adapters_do_not_stand_beside_adapters():
    with pytest.raises(
        UserError, match="an encoder that shows the states of its text layer by layer, which k-adapter-la"
    ):
        apply_knowledge(small("k-adapter-large"), KnowledgeSettings("side-adapter"), DATA)


def test_parts_that_the_data_cannot_size_are_refused():
    with pytest.raises(
        UserError, match=r"these data give none that such parts could be sized by; choose knowledge.kind n"
    ):
        apply_knowledge(small("bert-base"), KnowledgeSettings("kar"), PreparedData(sources={}, model=System.head))


def test_an_encoder_that_was_published_with_entities_is_left_as_it_is():
    system = small("ernie-thu-base")
    before = system.encoder
    apply_knowledge(system, KnowledgeSettings("entity-fusion"), DATA)
    assert system.encoder is before and not system.added


def test_the_command_line_refuses_an_encoder_without_room_for_the_parts_in_one_sentence(tmp_path, capsys):
    path = tmp_path / "mixed.yaml"
    path.write_text(
        "name: mixed\ntask: knowledge-vqa\ndata: {name: number-world, questions: 20}\n"
        "encoder: {recipe: lxmert-base, sizes: {dim: 16, num_heads: 2, ffn_dim: 32, num_layers: 0}}\n"
        "knowledge: {kind: side-adapter}\n"
    )
    assert cli.main(["train", str(path), f"--out={tmp_path}"]) == 2
    err = capsys.readouterr().err
    assert err.count("\n") == 1 and "knowledge.kind side-adapter was asked for with lxmert-base" in err
    assert "use one that does, such as uniter-base, or knowledge.kind sentence-tree" in err


def test_only_what_was_added_is_drawn_anew():
    system = small("bert-base")
    before = {name: value.clone() for name, value in system.encoder.state_dict().items()}
    known = list(system.modules())
    apply_knowledge(system, KnowledgeSettings("entity-fusion"), DATA)
    encoder = system.encoder
    narrow = encoder.fusions["1"].fuse.entity_in.weight.std()
    reinitialise(encoder, known, 0.5)
    after = encoder.state_dict()
    assert all(torch.equal(after[name], value) for name, value in before.items())
    assert narrow < 0.1 < encoder.fusions["1"].fuse.entity_in.weight.std()


@pytest.mark.parametrize("name", PLAIN)
@torch.no_grad()
def test_entities_can_be_fused_into_every_plain_single_stream(name):
    system = small(name)
    torch.manual_seed(0)
    system.encoder = fuse(system.encoder, entity_dim=4, entity_heads=2).eval()
    assert isinstance(system.encoder, FusedStream)
    linked = torch.tensor([False, False, True, False, False])
    told, other = (
        inputs(name).with_streams(entities=Entities(vectors=linked[:, None] * torch.full((5, 4), value), linked=linked))
        for value in (1.0, -1.0)
    )
    assert not torch.allclose(system(told).pooled, system(other).pooled, atol=1e-6)
