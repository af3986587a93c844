"""MultiFiT's dropouts act in training alone, and its classifier is found in a fine-tuned file."""

import pytest
import torch
from safetensors.torch import save_file

import mm_kptm
from mm_kptm.batch import POOLED_ONLY, Inputs, Tokens
from mm_kptm.errors import UserError
from mm_kptm.objectives.next_tokens import NextTokens

SIZES = {"vocab_size": 20, "dim": 6, "hidden_dim": 8, "num_layers": 2, "window": 3, "max_pooled": 5}
TEXTS = Inputs(text=Tokens.of([[2, 5, 6, 7, 8, 9, 10, 11], [2, 4], [2, 9, 9]]))


def test_a_text_is_the_same_alone_and_a_language_model_reads_only_what_was_before():
    system = mm_kptm.build("multifit", seed=0, **SIZES)
    together = system(TEXTS)
    assert together.pooled.shape == (3, 18) and system.pooled_dim == 18
    alone = system(Inputs(text=Tokens.of([[2, 4]])))
    torch.testing.assert_close(together.pooled[1], alone.pooled[0])
    cut = system(Inputs(text=Tokens.of([[2, 5, 6]])))
    torch.testing.assert_close(together.text[:3], cut.text)


def test_only_the_last_windows_of_a_long_text_are_pooled():
    system = mm_kptm.build("multifit", seed=0, **SIZES)
    layout, rows = system.encoder.pooled_rows(TEXTS.text.layout, torch.device("cpu"))
    assert layout.lengths == (2, 2, 3)  # of 8 tokens the window from 6 on, as it begins behind 8 - 5
    assert rows.tolist() == [6, 7, 8, 9, 10, 11, 12]


def test_a_language_model_learns_and_drops_out_in_training_alone():
    system = mm_kptm.build("multifit", seed=0, **SIZES)
    objective = NextTokens()
    batch = objective.prepare(TEXTS)
    torch.testing.assert_close(objective.loss(system, batch), objective.loss(system, batch))
    system.train()
    assert objective.loss(system, batch) != objective.loss(system, batch)
    system.encoder.drop_in.p = system.encoder.drop_hidden.p = system.encoder.drop_out.p = 0.0
    optimizer = torch.optim.Adam(system.parameters(), lr=0.03)
    losses = []
    for _ in range(120):
        loss = objective.loss(system, batch)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[-1] < 0.5 * losses[0]


def test_running_statistics_are_saved_with_the_classifier(tmp_path):
    system = mm_kptm.build("multifit", seed=0, heads={"classifier": {"num_classes": 3, "inner_dim": 5}}, **SIZES)
    system.train().head("classifier")(torch.randn(6, 18) + 2)
    mm_kptm.save(system.eval(), tmp_path / "saved")
    again = mm_kptm.load(tmp_path / "saved")
    rows = torch.randn(2, 18)
    torch.testing.assert_close(again.head("classifier")(rows), system.head("classifier")(rows))


def test_an_official_classifier_is_read_with_its_sizes(tmp_path):
    layers = {"0": (8 * 3, 12), "1": (6 * 3, 8)}
    state = {"0.module.encoder.weight": torch.randn(20, 6)}
    state["0.module.encoder_dp.emb.weight"] = state["0.module.encoder.weight"].clone()
    for number, (rows, columns) in layers.items():
        name = f"0.module.rnns.{number}.layers.0.linear"
        state |= {f"{name}.weight_raw": torch.randn(rows, columns), f"{name}.module.bias": torch.randn(rows)}
        state[f"{name}.module.weight"] = torch.zeros(rows, columns)
    for number, width in (("0", 18), ("4", 7)):
        norm = {leaf: torch.rand(width) for leaf in ("weight", "bias", "running_mean", "running_var")}
        state |= {f"1.layers.{number}.{leaf}": tensor for leaf, tensor in norm.items()}
        state[f"1.layers.{number}.num_batches_tracked"] = torch.tensor(3)
    for number, (rows, columns) in {"2": (7, 18), "6": (4, 7)}.items():
        state |= {f"1.layers.{number}.weight": torch.randn(rows, columns), f"1.layers.{number}.bias": torch.randn(rows)}
    save_file(state, tmp_path / "classifier.safetensors")
    system = mm_kptm.load("multifit", tmp_path / "classifier.safetensors")
    assert set(system.heads) == {"classifier"}
    assert system.head("classifier")(system(TEXTS).pooled).shape == (3, 4)
    torch.testing.assert_close(
        system.encoder.layers[1].linear.weight, state["0.module.rnns.1.layers.0.linear.weight_raw"]
    )


def reversed_texts():
    return Inputs(text=Tokens.of([[11, 10, 9, 8, 7, 6, 5, 2], [4, 2], [9, 9, 2]]))


def test_the_backward_model_is_the_forward_one_on_texts_from_their_end():
    ahead = mm_kptm.build("multifit", seed=0, **SIZES)
    back = mm_kptm.build("multifit-backward", seed=0, **SIZES)
    torch.testing.assert_close(back(TEXTS).pooled, ahead(reversed_texts()).pooled)
    expected = torch.cat([one.flip(0) for one in ahead(reversed_texts()).text.split([8, 2, 3])])
    torch.testing.assert_close(back(TEXTS).text, expected)
    *_, depth = back.hidden_states(TEXTS)
    torch.testing.assert_close(depth.x, expected)


def test_the_backward_model_predicts_the_token_before():
    back = mm_kptm.build("multifit-backward", seed=0, **SIZES)
    batch = NextTokens(backward=True).prepare(TEXTS)
    ahead = NextTokens().prepare(reversed_texts())
    assert batch.rows.tolist() == [1, 2, 3, 4, 5, 6, 7, 9, 11, 12]
    assert batch.labels.tolist() == [2, 5, 6, 7, 8, 9, 10, 2, 2, 9]
    forward = mm_kptm.build("multifit", seed=0, **SIZES)
    torch.testing.assert_close(NextTokens(backward=True).loss(back, batch), NextTokens().loss(forward, ahead))


@pytest.mark.parametrize(("name", "backward"), [("multifit", True), ("multifit-backward", False)])
def test_a_model_that_would_see_what_it_predicts_is_refused(name, backward):
    objective = NextTokens(backward=backward)
    message = f"next-tokens has backward: {str(backward).lower()}, but {name} reads texts the other way"
    with pytest.raises(UserError, match=message):
        objective.loss(mm_kptm.build(name, seed=0, **SIZES), objective.prepare(TEXTS))


@torch.no_grad()
def test_both_directions_average_their_probabilities(tmp_path):
    heads = {"classifier": {"num_classes": 3, "inner_dim": 5}}
    parts, folders = [], {}
    for seed, (prefix, name) in enumerate([("forward.", "multifit"), ("backward.", "multifit-backward")]):
        parts.append(mm_kptm.build(name, seed=seed, heads=heads, **SIZES))
        mm_kptm.save(parts[-1], tmp_path / name)
        folders[prefix] = tmp_path / name
    both = mm_kptm.load("multifit-bidirectional", folders, window=3, max_pooled=5)
    scores = [one.head("classifier")(one(TEXTS, POOLED_ONLY).pooled).softmax(1) for one in parts]
    given = both.head("classifier")(both(TEXTS, POOLED_ONLY).pooled)
    torch.testing.assert_close(given.exp(), torch.stack(scores).mean(0))
    assert both.pooled_dim == 36 and both.dim == 12
    torch.testing.assert_close(both(TEXTS).text, torch.cat([one(TEXTS).text for one in parts], 1))
