import json
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding.embeddings import (
    INDEX,
    SETTINGS,
    VECTORS,
    Embeddings,
    load_embeddings,
    save_embeddings,
)
from mm_kptm.knowledge.embedding.scoring import SCORES

NAMES, RELATIONS = ("Rom\nund\tso", "cat", "dog"), ("eats", "is a")


def drawn(model: str) -> Embeddings:
    generator = torch.Generator().manual_seed(0)
    dtype = torch.complex64 if SCORES[model].complex else torch.float32
    tables = [torch.randn(rows, 4, dtype=dtype, generator=generator) for rows in (3, 2)]
    return Embeddings(NAMES, tables[0], RELATIONS, tables[1], model=model, settings={"epochs": 3})


@pytest.mark.parametrize("model", sorted(SCORES))
def test_what_is_saved_comes_back_bit_by_bit(tmp_path: Path, model: str) -> None:
    ours = drawn(model)
    save_embeddings(ours, tmp_path / "new" / "folder")
    back = load_embeddings(tmp_path / "new" / "folder")
    assert (back.entities, back.relations, back.model, back.settings) == (NAMES, RELATIONS, model, {"epochs": 3})
    assert torch.equal(back.entity_vectors, ours.entity_vectors)
    assert back.relation_vectors is not None and torch.equal(back.relation_vectors, ours.relation_vectors)
    query = torch.tensor([0, 1, 2]), torch.tensor([0, 1, 1])
    assert torch.equal(back.score().tails(*query), ours.score().tails(*query))
    assert [path.name for path in (tmp_path / "new").iterdir()] == ["folder"]


def test_fusion_is_given_real_numbers() -> None:
    real, turned = drawn("transe"), drawn("rotate")
    assert torch.equal(real.table().vectors, real.entity_vectors)
    assert (real.width, turned.width) == (4, 8)
    pairs = turned.table().vectors.view(3, 4, 2)
    assert torch.equal(torch.complex(pairs[..., 0], pairs[..., 1]), turned.entity_vectors)
    assert turned.table().number_of("dog") == 2


def test_vectors_of_entities_alone_are_enough_for_fusion_but_score_nothing(tmp_path: Path) -> None:
    save_embeddings(Embeddings(NAMES, torch.zeros(3, 2)), tmp_path / "alone")
    alone = load_embeddings(tmp_path / "alone")
    assert alone.relation_vectors is None
    with pytest.raises(UserError, match="triples were to be scored, but there are vectors of entities alone"):
        alone.score()
    unknown = Embeddings(NAMES, torch.zeros(3, 2), RELATIONS, torch.zeros(2, 2), model="conve")
    with pytest.raises(UserError, match="were trained for conve, and can be ranked with transe, distmult, complex, ro"):
        unknown.score()


def test_a_folder_that_is_torn_or_of_another_size_is_refused(tmp_path: Path) -> None:
    folder = tmp_path / "e"
    save_embeddings(drawn("transe"), folder)
    with pytest.raises(UserError, match=r"e exists already; name a folder that does not"):
        save_embeddings(drawn("transe"), folder)
    whole = (folder / INDEX).read_text()
    (folder / INDEX).write_text(whole.replace("cat", "hat"))
    with pytest.raises(UserError, match=r"index.json is not what was written \(its checksum differs\)"):
        load_embeddings(folder)
    (folder / "manifest.json").unlink()
    (folder / INDEX).write_text(json.dumps({"entities": ["cat"], "relations": list(RELATIONS)}))
    with pytest.raises(UserError, match=r"e does not fit together: there are 1 names of entities, but 3 vectors"):
        load_embeddings(folder)
    (folder / INDEX).write_text('{"relations": []}')
    with pytest.raises(UserError, match=r"e does not fit together: .*index.json has no 'entities'"):
        load_embeddings(folder)
    for entities, message in (
        ('["a", ["b"], "c"]', r"entities\[1\] must be a text"),
        ('{"a": 1}', r"'entities' must be a list"),
        ("[]", r"'entities' is empty"),
    ):
        (folder / INDEX).write_text(f'{{"entities": {entities}, "relations": []}}')
        with pytest.raises(UserError, match=message):
            load_embeddings(folder)
    (folder / INDEX).write_text(whole)
    settings = (folder / SETTINGS).read_text()
    (folder / SETTINGS).write_text('{"model": "transe", "norm": "two"}')
    with pytest.raises(UserError, match=r"'norm' must be a whole number"):
        load_embeddings(folder)
    (folder / SETTINGS).write_text(settings)
    (folder / INDEX).write_text(whole[:20])
    with pytest.raises(UserError, match=r"index.json, line 3, column 3: no valid JSON"):
        load_embeddings(folder)
    (folder / INDEX).write_text(whole)
    (folder / VECTORS).write_bytes((folder / VECTORS).read_bytes()[:-8])
    with pytest.raises(UserError, match=r"embeddings.safetensors is no whole safetensors file"):
        load_embeddings(folder)
    save_file({"relations": torch.zeros(2, 4)}, folder / VECTORS)
    with pytest.raises(UserError, match=r"embeddings.safetensors has no table of entities; it has relations"):
        load_embeddings(folder)
    (folder / INDEX).write_text("[]")
    with pytest.raises(UserError, match=r"index.json must be an object"):
        load_embeddings(folder)
    with pytest.raises(UserError, match=r"nothing is no folder of embeddings: it has no index.json"):
        load_embeddings(tmp_path / "nothing")


def test_tables_that_are_no_vectors_are_named() -> None:
    with pytest.raises(UserError, match=r"the entities have a table of torch.int64 \[3, 2\], not one vector a row"):
        Embeddings(NAMES, torch.zeros(3, 2, dtype=torch.long))
    with pytest.raises(UserError, match=r"there are 2 names of relations, but 1 vectors"):
        Embeddings(NAMES, torch.zeros(3, 2), RELATIONS, torch.zeros(1, 2))


def test_an_unknown_entity_is_told_its_nearest_name() -> None:
    assert drawn("transe").number_of("cat") == 1
    with pytest.raises(UserError, match=r"there are vectors of 3 entities, but none of 'dogg'; did you mean dog\?"):
        drawn("transe").number_of("dogg")


def test_vectors_are_put_in_the_order_of_a_graph() -> None:
    turned = drawn("rotate").among(("dog", "cat"), ("is a",))
    assert torch.equal(turned.entity_vectors, drawn("rotate").entity_vectors[[2, 1]])
    assert turned.relation_vectors is not None and len(turned.relation_vectors) == 1
    with pytest.raises(
        UserError, match=r"1 of 2 entities of the graph have no vector, such as emu; train vectors on th"
    ):
        drawn("rotate").among(("dog", "emu"), ())
    with pytest.raises(UserError, match="triples were to be scored, but there are vectors of entities alone"):
        Embeddings(NAMES, torch.zeros(3, 2)).among(NAMES, ())
