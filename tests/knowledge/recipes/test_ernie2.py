"""ERNIE 2.0: ERNIE's encoder with embedded tasks, against Hugging Face's ErnieForPreTraining."""

from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file
from transformers import ErnieConfig, ErnieForPreTraining

import mm_kptm
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.systems.assembly import parameters

SIZES = {
    "hidden_size": 8,
    "num_attention_heads": 2,
    "num_hidden_layers": 2,
    "intermediate_size": 12,
    "vocab_size": 30,
    "max_position_embeddings": 20,
    "type_vocab_size": 4,
    "layer_norm_eps": 1e-5,
}
IDS, SEGMENTS = [4, 9, 5, 7, 3], [0, 0, 1, 2, 3]


def published(folder: Path, **more: object) -> ErnieForPreTraining:
    """A model of random weights, and its files."""
    config = ErnieConfig(**SIZES, **more)
    torch.manual_seed(0)
    model = ErnieForPreTraining(config).eval()
    for parameter in model.parameters():
        torch.nn.init.normal_(parameter, std=0.5)
    save_file({name: tensor.clone() for name, tensor in model.state_dict().items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(config.to_json_string())
    return model


@pytest.mark.parametrize("task", [None, 0, 2])
def test_the_task_is_added_to_every_token(task: int | None, tmp_path: Path) -> None:
    theirs = published(tmp_path, use_task_id=True, task_type_vocab_size=4)
    system = mm_kptm.load("ernie2", tmp_path)
    tasks = None if task is None else torch.full((5,), task)
    text = Tokens(**{**vars(Tokens.of([IDS], segments=[SEGMENTS])), "tasks": tasks})
    with torch.no_grad():
        told = theirs(
            torch.tensor([IDS]),
            token_type_ids=torch.tensor([SEGMENTS]),
            task_type_ids=None if tasks is None else tasks[None],
        )
        encoded = system(Inputs(text=text))
        words, follows = (system.head(name) for name in ("masked-tokens", "next-sentence"))
        ours = words(encoded.text), follows(encoded.pooled)
    torch.testing.assert_close(ours[0], told.prediction_logits[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(ours[1], told.seq_relationship_logits, atol=1e-5, rtol=1e-4)


def test_a_file_without_tasks_has_none(tmp_path: Path) -> None:
    published(tmp_path, use_task_id=False)
    system = mm_kptm.load("ernie2", tmp_path)
    assert system.sizes["num_tasks"] == 0 and not any("task" in name for name in parameters(system))


def test_baidus_name_of_the_table_is_known(tmp_path: Path) -> None:
    published(tmp_path, use_task_id=True, task_type_vocab_size=4)
    tensors = {"task_embedding": torch.ones(4, 8)}
    recipe = mm_kptm.catalogue()["ernie-2.0-base"]
    assert list(mm_kptm.systems.keymap.translate(tensors, recipe.weights).tensors) == ["encoder.embed.text.task.weight"]


def test_a_task_without_a_row_is_refused() -> None:
    sizes = {"dim": 8, "num_heads": 2, "num_layers": 1, "ffn_dim": 12, "vocab_size": 30, "max_positions": 20}
    system = mm_kptm.build("ernie2", seed=0, heads=(), num_tasks=3, **sizes)
    text = Tokens(**{**vars(Tokens.of([IDS])), "tasks": torch.full((5,), 3)})
    message = r"^a token is shown for task 3, but the model has 3 tasks; build it with num_tasks=4$"
    with pytest.raises(UserError, match=message):
        system(Inputs(text=text))
