import json
from pathlib import Path

import numpy as np
import pytest
import torch

from mm_kptm.errors import UserError
from mm_kptm.knowledge.embedding.embeddings import Embeddings, save_embeddings
from mm_kptm.knowledge.embedding.formats import open_embeddings


def ernie(folder: Path) -> Path:
    (folder / "entity2id.txt").write_text("3\nQ2\t1\nQ1\t0\nNew York\t2\n")
    (folder / "entity2vec.vec").write_text("1.0\t2.0\t\n3.0\t4.5\t\n0.0\t1e-3\t\n")
    return folder


def test_ernies_vectors_have_the_names_of_their_lines(tmp_path: Path) -> None:
    found = open_embeddings(ernie(tmp_path))
    assert found.entities == ("Q1", "Q2", "New York")
    assert found.entity_vectors[found.number_of("Q2")].tolist() == [3.0, 4.5]
    assert found.table().vectors.shape == (3, 2)
    assert found.relations == ()


def test_openkes_relations_are_scored(tmp_path: Path) -> None:
    ernie(tmp_path)
    (tmp_path / "relation2id.txt").write_text("1\nin\t0\n")
    (tmp_path / "relation2vec.vec").write_text("2.0 2.5\n")
    found = open_embeddings(tmp_path, model="TransE", norm=1).score().tails(torch.tensor([0]), torch.tensor([0]))
    torch.testing.assert_close(found, torch.tensor([[-4.5, 0.0, -7.499]]))
    with pytest.raises(
        UserError, match=r"RotatE scores complex vectors, one a row, but the entities are torch.float32"
    ):
        open_embeddings(tmp_path, model="rotate").score()


def test_keplers_arrays_are_named_by_the_table_beside_them(tmp_path: Path) -> None:
    np.save(tmp_path / "EntityEmb.npy", np.arange(8, dtype=np.float32).reshape(4, 2))
    np.save(tmp_path / "RelEmb.npy", np.ones((1, 2), dtype=np.float32))
    (tmp_path / "entity2id.json").write_text(json.dumps({"Q9": 3, "Q5": 1}))
    (tmp_path / "relation2id.json").write_text(json.dumps({"P31": 0}))
    found = open_embeddings(tmp_path, model="transe", norm=2)
    assert (found.entities, found.relations) == (("Q5", "Q9"), ("P31",))
    assert found.entity_vectors.tolist() == [[2, 3], [6, 7]]
    one = torch.tensor([0])
    torch.testing.assert_close(found.score().tails(one, one)[0], torch.tensor([-(2**0.5), -(18**0.5)]))


def test_a_folder_of_ours_opens_too(tmp_path: Path) -> None:
    save_embeddings(Embeddings(("a", "b"), torch.eye(2), ("r",), torch.ones(1, 2), model="transe"), tmp_path / "e")
    assert open_embeddings(tmp_path / "e").model == "transe"
    assert open_embeddings(tmp_path / "e", model="distmult").model == "distmult"


def test_files_that_do_not_fit_are_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"holds no vectors of entities; embeddings.safetensors, entity2vec.vec and En"):
        open_embeddings(tmp_path)
    ernie(tmp_path)
    with pytest.raises(UserError, match=r"no score is called 'transx'; did you mean transe\?"):
        open_embeddings(tmp_path, model="transx")
    (tmp_path / "entity2vec.vec").write_text("1\t2\n3\t4\n")
    with pytest.raises(
        UserError, match=r"gives New York the number 2, but entity2vec.vec has 2 vectors; numbers count"
    ):
        open_embeddings(tmp_path)
    (tmp_path / "entity2vec.vec").write_text("1\t2\n3\n")
    with pytest.raises(UserError, match=r"entity2vec.vec, line 2: 1 numbers, but the lines before have 2"):
        open_embeddings(tmp_path)
    (tmp_path / "entity2vec.vec").unlink()
    (tmp_path / "entity2id.txt").unlink()
    (tmp_path / "EntityEmb.npy").write_bytes(b"torn")
    with pytest.raises(UserError, match=r"entities were looked for in .*entity2id.txt, but there is no such file"):
        open_embeddings(tmp_path)
    (tmp_path / "entity2id.json").write_text('{"a": -1}')
    with pytest.raises(UserError, match=r"entity2id.json should hold a number from 0 on for every name"):
        open_embeddings(tmp_path)
    (tmp_path / "entity2id.json").write_text('{"a": 0')
    with pytest.raises(UserError, match=r"entity2id.json, line 1, column 8: no valid JSON"):
        open_embeddings(tmp_path)
