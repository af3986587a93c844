"""mUNITER, xUNITER and UC2 of IGLUE at drawn sizes against the model written down in plain torch."""

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from safetensors.torch import save_file
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Inputs, Regions, Tokens, layout_of
from mm_kptm.nn.positions import counted_positions

PAD = 1
EMBEDDINGS = {"muniter": "uniter", "xuniter": "xuniter", "volta-uc2": "uc2"}


def drawn_case(name: str, seed: int) -> tuple[dict[str, Any], dict[str, Tensor], dict[str, Tensor]]:
    """A configuration, weights by the published names, and a batch."""
    rng = random.Random(f"{name}-{seed}")
    torch.manual_seed(rng.randrange(2**31))
    heads = rng.choice([1, 2, 3, 4])
    size, ffn, layers = heads * rng.choice([4, 6, 8]), rng.choice([10, 32, 48]), rng.choice([1, 2, 3])
    vocabulary, features, classes = rng.randint(30, 90), rng.choice([3, 16, 20]), rng.randint(2, 24)
    uc2, pooled = name == "volta-uc2", rng.choice([5, 24, 32])
    config = {
        "hidden_size": size,
        "v_hidden_size": size,
        "intermediate_size": ffn,
        "v_intermediate_size": ffn,
        "num_attention_heads": heads,
        "v_num_attention_heads": heads,
        "vocab_size": vocabulary,
        "max_position_embeddings": 30,
        "type_vocab_size": 1 if name == "xuniter" else 2,
        "hidden_act": "gelu",
        "v_hidden_act": "gelu",
        "v_feature_size": features,
        "num_locs": 7 if uc2 else 5,
        "pooler_size": pooled,
        "v_pooler_size": pooled,
        "fusion_method": "text" if uc2 else "mul",
        "fusion_act": "relu",
        "layer_norm_eps": 1e-5 if uc2 else 1e-12,
        "image_embeddings": EMBEDDINGS[name] if name != "xuniter" else "uniter",
        "add_global_imgfeat": None if uc2 else "first",
        "model": "bert" if name == "muniter" else "roberta",
        "pad_token_id": PAD,
        "visual_target_weights": {"0": 1.0},
        "image_head_ln": True,
        "clf_hidden_size": 2 * size,
    }
    attention, feed = [2 * layer for layer in range(layers)], [2 * layer + 1 for layer in range(layers)]
    config |= {f"{kind}_attn_sublayers": attention for kind in ("tt", "tv", "vt", "vv")}
    config |= {"t_ff_sublayers": feed, "v_ff_sublayers": feed}
    config |= {f"{kind}_sublayers": sorted(attention + feed) for kind in ("shared", "single_ln")}
    if name == "muniter":
        del config["layer_norm_eps"]

    weights: dict[str, Tensor] = {}

    def linear(key: str, out: int, into: int) -> None:
        weights[f"{key}.weight"], weights[f"{key}.bias"] = 0.3 * torch.randn(out, into), 0.3 * torch.randn(out)

    def norm(key: str, width: int = size) -> None:
        weights[f"{key}.weight"], weights[f"{key}.bias"] = 1 + 0.3 * torch.randn(width), 0.3 * torch.randn(width)

    start = "bert.embeddings"
    types = "new_token_type_embeddings" if uc2 else "token_type_embeddings"
    for key, rows in (("word_embeddings", vocabulary), ("position_embeddings", 30), (types, config["type_vocab_size"])):
        weights[f"{start}.{key}.weight"] = 0.5 * torch.randn(rows, size)
    own = torch.randn(1, size) if name == "xuniter" else weights[f"{start}.{types}.weight"].clone()
    weights[f"{start}.image_token_type_embeddings.weight"] = own
    linear(f"{start}.image_embeddings", size, features)
    linear(f"{start}.image_location_embeddings", size, config["num_locs"])
    for key in ("LayerNorm", "image_layer_norm", "image_location_layer_norm", "v_LayerNorm"):
        norm(f"{start}.{key}")

    def twice(key: str, text: str, image: str) -> None:
        for leaf in ("weight", "bias"):
            weights[f"{key}.{image}.{leaf}"] = weights[f"{key}.{text}.{leaf}"].clone()

    for number in attention:
        layer = f"bert.encoder.layer.{number}"
        for role in ("query", "key", "value"):
            linear(f"{layer}.attention_self.{role}", size, size)
            twice(f"{layer}.attention_self", role, f"v_{role}")
        linear(f"{layer}.attention_output.dense", size, size)
        norm(f"{layer}.attention_output.LayerNorm")
        twice(f"{layer}.attention_output", "dense", "v_dense")
        twice(f"{layer}.attention_output", "LayerNorm", "v_LayerNorm")
    for number in feed:
        layer = f"bert.encoder.layer.{number}"
        linear(f"{layer}.intermediate.dense", ffn, size)
        linear(f"{layer}.output.dense", size, ffn)
        norm(f"{layer}.output.LayerNorm")
        twice(f"{layer}.intermediate", "dense", "v_dense")
        twice(f"{layer}.output", "dense", "v_dense")
        twice(f"{layer}.output", "LayerNorm", "v_LayerNorm")
    linear("bert.t_pooler.dense", pooled, size)
    if not uc2:
        linear("bert.v_pooler.dense", pooled, size)
    for head, rows in (("predictions", vocabulary), ("imagePredictions", classes)):
        linear(f"cls.{head}.transform.dense", size, size)
        norm(f"cls.{head}.transform.LayerNorm")
        if head == "imagePredictions":
            linear(f"cls.{head}.decoder_dict.0", rows, size)
    weights["cls.predictions.decoder.weight"] = weights[f"{start}.word_embeddings.weight"].clone()
    weights["cls.predictions.bias"] = torch.randn(vocabulary)
    linear("cls.bi_seq_relationship", 2, pooled)

    texts, width, boxes = rng.randint(1, 4), rng.randint(2, 9), rng.choice([1, 2, 6])
    lengths = [width if rng.random() < 0.4 else rng.randint(1, width) for _ in range(texts)]
    counts = [boxes if rng.random() < 0.4 else rng.randint(1, boxes) for _ in range(texts)]
    if rng.random() < 0.3:
        lengths = [width] * texts
    real = torch.arange(width) < torch.tensor(lengths)[:, None]
    image = torch.arange(boxes) < torch.tensor(counts)[:, None]
    batch = {
        "ids": torch.randint(PAD + 1, vocabulary, (texts, width)).where(real, torch.tensor(PAD)),
        "real": real,
        "features": torch.randn(texts, boxes, features),
        "boxes": torch.rand(texts, boxes, config["num_locs"]),
        "image": image,
    }
    return config | {"num_visual_classes": classes}, weights, batch


def plain(name: str, config: dict[str, Any], weights: dict[str, Tensor], batch: dict[str, Tensor]) -> dict[str, Tensor]:
    """One stack over the padded text and the padded regions behind it, with -10000 on padding."""
    eps = config.get("layer_norm_eps", 1e-12)

    def linear(x: Tensor, key: str) -> Tensor:
        return x @ weights[f"{key}.weight"].T + weights[f"{key}.bias"]

    def norm(x: Tensor, key: str) -> Tensor:
        middle = x - x.mean(-1, keepdim=True)
        scaled = middle / (middle.square().mean(-1, keepdim=True) + eps).sqrt()
        return scaled * weights[f"{key}.weight"] + weights[f"{key}.bias"]

    start, ids = "bert.embeddings", batch["ids"]
    types = weights[f"{start}.{'new_' if name == 'volta-uc2' else ''}token_type_embeddings.weight"]
    places = torch.arange(ids.shape[1]).expand_as(ids)
    if name != "muniter":
        told = (ids != PAD).long()
        places = told.cumsum(1) * told + PAD
    words, positions = weights[f"{start}.word_embeddings.weight"], weights[f"{start}.position_embeddings.weight"]
    text = norm(words[ids] + positions[places] + types[0], f"{start}.LayerNorm")
    shown = norm(linear(batch["features"], f"{start}.image_embeddings"), f"{start}.image_layer_norm")
    placed = norm(linear(batch["boxes"], f"{start}.image_location_embeddings"), f"{start}.image_location_layer_norm")
    kind = weights[f"{start}.image_token_type_embeddings.weight"][0 if name == "xuniter" else 1]
    regions = norm(shown + placed + kind, f"{start}.v_LayerNorm")
    x = torch.cat([text, regions], 1)
    hidden = -10000.0 * (~torch.cat([batch["real"], batch["image"]], 1)).double()[:, None, None]
    heads = config["num_attention_heads"]
    for number in config["tt_attn_sublayers"]:
        layer = f"bert.encoder.layer.{number}"
        query, key, value = (
            linear(x, f"{layer}.attention_self.{role}").unflatten(-1, (heads, -1)).transpose(1, 2)
            for role in ("query", "key", "value")
        )
        scores = query @ key.transpose(2, 3) / query.shape[-1] ** 0.5 + hidden
        read = (scores.softmax(-1) @ value).transpose(1, 2).flatten(2)
        x = norm(x + linear(read, f"{layer}.attention_output.dense"), f"{layer}.attention_output.LayerNorm")
        layer = f"bert.encoder.layer.{number + 1}"
        inner = linear(x, f"{layer}.intermediate.dense")
        inner = inner * 0.5 * (1 + torch.erf(inner / 2**0.5))
        x = norm(x + linear(inner, f"{layer}.output.dense"), f"{layer}.output.LayerNorm")
    said, seen = x[:, : ids.shape[1]], x[:, ids.shape[1] :]
    pooled = linear(said[:, 0], "bert.t_pooler.dense").relu()
    if name != "volta-uc2":
        pooled = pooled * linear(seen[:, 0], "bert.v_pooler.dense").relu()

    def transformed(states: Tensor, key: str) -> Tensor:
        return norm(F.gelu(linear(states, f"{key}.transform.dense")), f"{key}.transform.LayerNorm")

    scores = transformed(said, "cls.predictions") @ words.T + weights["cls.predictions.bias"]
    classes = linear(transformed(seen, "cls.imagePredictions"), "cls.imagePredictions.decoder_dict.0")
    return {
        "text": said[batch["real"]],
        "regions": seen[batch["image"]],
        "words": scores[batch["real"]],
        "classes": classes[batch["image"]],
        "matched": linear(pooled, "cls.bi_seq_relationship"),
    }


def ours(name: str, folder: Path, batch: dict[str, Tensor], classes: int) -> dict[str, Tensor]:
    heads = {
        "masked-tokens": {},
        "image-text-matching": {},
        "masked-regions": {"targets": "distributions", "num_classes": classes},
    }
    system = mm_kptm.load(name, folder, heads=heads, whole_image=False).double().eval()
    positions = None if name == "muniter" else counted_positions(batch["ids"], PAD)
    text = Tokens.padded(batch["ids"], batch["real"], **({} if positions is None else {"positions": positions}))
    regions = Regions.padded(batch["features"].double(), batch["boxes"][..., :4], batch["image"])
    inputs = Inputs(text=text, regions=replace(regions, geometry=batch["boxes"][batch["image"]].double()))
    *_, last = system.hidden_states(inputs)
    return {
        "text": last.left.x,
        "regions": last.right.x,
        "words": system.head("masked-tokens")(last.left.x),
        "classes": system.head("masked-regions").by_target(last.right.x)["distributions"],
        "matched": system.head("image-text-matching")(system(inputs).pooled).flip(1),
    }


@torch.no_grad()
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("name", EMBEDDINGS)
def test_drawn_sizes_and_paddings_agree_with_plain_torch(name: str, seed: int, tmp_path: Path) -> None:
    config, weights, batch = drawn_case(name, seed)
    save_file({key: tensor.contiguous() for key, tensor in weights.items()}, tmp_path / "model.safetensors")
    classes = config.pop("num_visual_classes")
    (tmp_path / "config.json").write_text(json.dumps(config))
    double = {key: tensor.double() for key, tensor in {**weights, **batch}.items()}
    expected = plain(
        name, config, double, {**double, "ids": batch["ids"], "real": batch["real"], "image": batch["image"]}
    )
    found = ours(name, tmp_path, batch, classes)
    assert found.keys() == expected.keys()
    for key, tensor in expected.items():
        torch.testing.assert_close(found[key], tensor, atol=1e-8, rtol=1e-8, msg=lambda text, key=key: f"{key}: {text}")
    assert len(found["text"]) == layout_of(batch["real"]).total
