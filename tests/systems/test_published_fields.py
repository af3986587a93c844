"""Every field of a published configuration is honoured as transformers does, or refused by its name.

For every recipe that transformers has an implementation of, each field of its configuration takes other values: the
states are equal, or the field stands in the refusal.
"""

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers as hf
from safetensors.torch import save_file
from torch import Tensor

import mm_kptm
from mm_kptm.batch import Inputs, Regions, SequenceLayout, Tokens
from mm_kptm.errors import UserError, UserNotice
from mm_kptm.systems.published_fields import NEUTRAL
from mm_kptm.systems.system import System

IDS, TARGET = [15, 7, 9, 11, 16, 8], [12, 17, 13]
FEATURES = torch.randn(4, 8, generator=torch.Generator().manual_seed(1))
BOXES = torch.rand(4, 4, generator=torch.Generator().manual_seed(2))
SIZES: dict[str, Any] = {
    "vocab_size": 30,
    "hidden_size": 16,
    "num_hidden_layers": 2,
    "num_attention_heads": 2,
    "intermediate_size": 24,
    "max_position_embeddings": 20,
}
BATCH = torch.tensor([IDS])
TEXT = Tokens.of([IDS])


def text_of(model: Any, config: Any) -> Tensor:
    return model(BATCH, return_dict=True).last_hidden_state[0]


def languages_of(model: Any, config: Any) -> Tensor:
    given = {"langs": torch.ones_like(BATCH)} if config.n_langs > 1 and config.use_lang_emb else {}
    return model(BATCH, return_dict=True, **given).last_hidden_state[0]


def decoder_of(model: Any, config: Any) -> Tensor:
    return model(BATCH, decoder_input_ids=torch.tensor([TARGET]), return_dict=True).last_hidden_state[0]


def streams_of(model: Any, config: Any) -> Tensor:
    features = FEATURES[None, :, : config.visual_feat_dim]
    found = model(BATCH, visual_feats=features, visual_pos=BOXES[None], return_dict=True)
    return torch.cat([found.language_output[0], found.vision_output[0]])


def regions_of(model: Any, config: Any) -> Tensor:
    features = FEATURES[None, :, : config.visual_embedding_dim]
    kinds = torch.ones(1, 4, dtype=torch.long)
    found = model(BATCH, visual_embeds=features, visual_token_type_ids=kinds, return_dict=True)
    return found.last_hidden_state[0]


def region_inputs(width: int) -> Inputs:
    segments = torch.ones(4, dtype=torch.long)
    return Inputs(text=TEXT, regions=Regions(FEATURES[:, :width], BOXES, SequenceLayout((4,)), segments=segments))


def ours_text(system: System) -> Tensor:
    return system(Inputs(text=TEXT)).text


def ours_languages(system: System) -> Tensor:
    return system(Inputs(text=Tokens.of([IDS], languages=[[1] * len(IDS)]))).text


def ours_decoder(system: System) -> Tensor:
    return system(Inputs(text=TEXT, target=Tokens.of([TARGET])))["target"]


def ours_streams(system: System) -> Tensor:
    encoded = system(region_inputs(system.sizes["region_dim"]))
    return torch.cat([encoded.text, encoded.regions])


@dataclass(frozen=True)
class Published:
    """A recipe and its counterpart."""

    config: Any
    model: Any
    sizes: Mapping[str, Any]
    theirs: Callable[[Any, Any], Tensor] = text_of
    ours: Callable[[System], Tensor] = ours_text


CASES = {
    "bert-base": Published(hf.BertConfig, hf.BertModel, SIZES),
    "roberta-base": Published(hf.RobertaConfig, hf.RobertaModel, SIZES),
    "kepler-base": Published(hf.RobertaConfig, hf.RobertaModel, SIZES),
    "xlm-r-base": Published(hf.XLMRobertaConfig, hf.XLMRobertaModel, SIZES),
    "infoxlm-base": Published(hf.XLMRobertaConfig, hf.XLMRobertaModel, SIZES),
    "xlm-15": Published(
        hf.XLMConfig,
        hf.XLMModel,
        {"vocab_size": 30, "emb_dim": 16, "n_layers": 2, "n_heads": 2, "max_position_embeddings": 20, "n_langs": 3},
        languages_of,
        ours_languages,
    ),
    "lxmert-base": Published(
        hf.LxmertConfig,
        hf.LxmertModel,
        {
            **{name: value for name, value in SIZES.items() if name != "num_hidden_layers"},
            "l_layers": 2,
            "r_layers": 2,
            "x_layers": 2,
            "visual_feat_dim": 8,
        },
        streams_of,
        ours_streams,
    ),
    "visualbert": Published(
        hf.VisualBertConfig,
        hf.VisualBertModel,
        {**SIZES, "visual_embedding_dim": 8},
        regions_of,
        ours_streams,
    ),
    "mbart-large-cc25": Published(
        hf.MBartConfig,
        hf.MBartModel,
        {
            "vocab_size": 30,
            "d_model": 16,
            "encoder_layers": 2,
            "decoder_layers": 2,
            "encoder_ffn_dim": 24,
            "decoder_ffn_dim": 24,
            "encoder_attention_heads": 2,
            "decoder_attention_heads": 2,
            "max_position_embeddings": 20,
        },
        decoder_of,
        ours_decoder,
    ),
    "spanbert-base": Published(hf.BertConfig, hf.BertModel, SIZES),
    "rembert": Published(
        hf.RemBertConfig, hf.RemBertModel, {**SIZES, "input_embedding_size": 12, "output_embedding_size": 14}
    ),
    "ernie-baidu-base": Published(hf.ErnieConfig, hf.ErnieModel, SIZES),
    "ernie-2.0-base": Published(hf.ErnieConfig, hf.ErnieModel, {**SIZES, "use_task_id": True}),
}

#: Values beside those that follow from the kind of a field.
OTHERS: dict[str, tuple[Any, ...]] = {
    "hidden_act": ("relu", "gelu_new", "silu", "no such", None),
    "activation_function": ("relu", "gelu_new", "silu"),
    "position_embedding_type": ("relative_key",),
    "model_type": ("albert", "t5"),
    "architectures": (["AlbertModel"],),
    "layer_norm_eps": (1e-2, 1e-5, "1e-5"),
    "pad_token_id": (0, 3, 4),
    "num_attention_heads": (4, 3, 0, -1, "2", 2.5),
    "encoder_attention_heads": (4, 3),
    "decoder_attention_heads": (4, 3),
    "n_heads": (4, 3),
    "hidden_size": (32, "16", None),
    "emb_dim": (32,),
    "d_model": (32,),
    "id2label": ({"0": "A", "1": "B", "2": "C"},),
    "label2id": ({"A": 0, "B": 1, "C": 2},),
    "visual_feat_dim": (6,),
    "visual_embedding_dim": (6,),
    "type_vocab_size": (1, 3),
    "hidden_dropout_prob": (0.5, "0.1"),
    "num_hidden_layers": (3,),
    "dtype": ("bfloat16",),
    "n_langs": (1, 4),
    "pruned_heads": ({"0": [1]},),
    "num_labels": (5,),
}


def others(field: str, value: Any) -> tuple[Any, ...]:
    if field in OTHERS:
        return OTHERS[field]
    match value:
        case bool():
            return (not value,)
        case int():
            return (value + 1,)
        case float():
            return (3 * value + 0.01,)
        case str():
            return ("other",)
        case None:
            return (True, 1)
    return ()


def fields() -> list[tuple[str, str, Any]]:
    more = {"position_embedding_type": "absolute", "pruned_heads": {}, "num_labels": 2}
    return [
        (name, field, other)
        for name, case in CASES.items()
        for field, value in {**case.config(**case.sizes).to_dict(), **more}.items()
        for other in others(field, value)
    ]


def published(case: Published, changed: Mapping[str, Any]) -> tuple[Any, Any]:
    """The other library's model, with weights far from fresh ones; none where it refuses the configuration, too."""
    config = case.config(**{**case.sizes, **{k: v for k, v in changed.items() if k not in ("model_type", "dtype")}})
    torch.manual_seed(0)
    model = case.model(config).eval()
    for parameter in model.parameters():
        if parameter.requires_grad:
            torch.nn.init.normal_(parameter, std=0.3)
    return config, model


def write(folder: Path, config: Mapping[str, Any], model: Any) -> None:
    save_file({name: tensor.clone() for name, tensor in model.state_dict().items()}, folder / "model.safetensors")
    (folder / "config.json").write_text(json.dumps(config))


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize(("name", "field", "value"), fields())
@torch.no_grad()
def test_every_field_is_honoured_or_refused_by_name(name: str, field: str, value: Any, tmp_path: Path) -> None:
    case = CASES[name]
    try:
        config, model = published(case, {field: value})
        expected = case.theirs(model, config)
    except Exception:  # whatever way the other library has of refusing
        config, model = published(case, {})
        expected = None
    write(tmp_path, {**config.to_dict(), field: value}, model)
    try:
        system = mm_kptm.load(name, tmp_path, heads=())
    except UserError as refusal:
        assert field in str(refusal), refusal
        return
    states = case.ours(system)
    if expected is None:
        expected = case.theirs(model, config)
        assert field in NEUTRAL, "the other library refuses this, and nothing here does"
    torch.testing.assert_close(states, expected, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize(
    ("name", "config", "message"),
    [
        ("roberta-base", {"model_type": "bert"}, r"says model_type='bert', but roberta-base reads .* 'roberta' only"),
        ("bert-base", {"model_type": "roberta"}, r"says model_type='roberta', but bert-base reads .* 'bert' only"),
        (
            "xlm-17",
            {"architectures": ["BertForMaskedLM"]},
            r"says architectures=\['BertForMaskedLM'\], but xlm-17 reads",
        ),
        ("xlm-r-base", {"architectures": ["RobertaForMaskedLM"]}, r"but xlm-r-base reads .* 'xlm-roberta' only"),
        ("mbart-large-cc25", {"model_type": "bart"}, r"but mbart-large-cc25 reads .* 'mbart' only"),
    ],
)
def test_a_checkpoint_of_another_family_is_refused(name: str, config: Any, message: str, tmp_path: Path) -> None:
    _, model = published(CASES["bert-base"], {})
    write(tmp_path, config, model)
    with pytest.raises(UserError, match=message):
        mm_kptm.load(name, tmp_path)


@pytest.mark.parametrize("name", sorted(mm_kptm.catalogue()))
def test_every_recipe_refuses_some_family(name: str) -> None:
    recipe = mm_kptm.catalogue()[name]
    with pytest.raises(UserError, match=r"model_type"):
        recipe.configured_sizes({"model_type": "no-such-family"})


@pytest.mark.parametrize("name", sorted(mm_kptm.catalogue()))
def test_every_recipe_reads_or_refuses_an_eps(name: str) -> None:
    """BERT's fields that many a recipe has no part for."""
    recipe = mm_kptm.catalogue()[name]
    try:
        sizes = recipe.configured_sizes({"layer_norm_eps": 0.5, "is_decoder": False})
    except UserError as refusal:
        assert "layer_norm_eps=0.5, but" in str(refusal)
        if stated := re.search(r"built with layer_norm_eps=(\S+) only", str(refusal)):
            with torch.device("meta"):
                encoder = recipe.build(**recipe.published_sizes())
            built = {part.eps for part in encoder.modules() if isinstance(part, torch.nn.LayerNorm)}
            assert float(stated[1]) in built
    else:
        assert sizes.get("norm_eps") == 0.5
    with pytest.raises(UserError, match="is_decoder"):
        recipe.configured_sizes({"is_decoder": True})


def test_a_table_that_the_configuration_switches_off_is_refused(tmp_path: Path) -> None:
    config, model = published(CASES["ernie-2.0-base"], {})
    write(tmp_path, {**config.to_dict(), "use_task_id": False}, model)
    with pytest.raises(
        UserError, match=r"asks for num_tasks=0, but the checkpoint has 3 rows of .* use_task_id in it$"
    ):
        mm_kptm.load("ernie-2.0-base", tmp_path, heads=())
    behind = ["embeddings.task_type_embeddings."]
    with torch.no_grad():
        states = ours_text(mm_kptm.load("ernie-2.0-base", tmp_path, heads=(), ignore=behind))
        model.embeddings.task_type_embeddings.weight.zero_()
        torch.testing.assert_close(states, text_of(model, config), atol=1e-4, rtol=1e-4)


def test_unknown_fields_are_named() -> None:
    with pytest.warns(UserNotice, match=r"^the configuration has fields that bert-base does not read: alibi, rotary$"):
        mm_kptm.catalogue()["bert-base"].configured_sizes(
            {"rotary": True, "alibi": 8, "use_cache": True, "other": None}
        )
