"""The form in which transformers opens a saved folder, for the systems that it has an equal class of.

Parameters of the encoder and of heads that transformers knows have their published names; other heads keep ours, which
transformers leaves behind. The configuration has transformers' fields beside ours. A system with one fine-tuned head is
written as the class with that head, and with the names of its labels.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from mm_kptm.systems.keymap import translate
from mm_kptm.systems.labels import CLASSIFIERS, FINE_TUNED, label_fields
from mm_kptm.systems.rules import OneOf, Rename, Rule

if TYPE_CHECKING:
    from mm_kptm.systems.system import System

_NO_TENSORS: Callable[[Mapping[str, Any]], Mapping[str, Tensor]] = lambda sizes: {}  # noqa: E731 a default


@dataclass(frozen=True)
class TransformersForm:
    """How a recipe's folder is written for transformers."""

    model_type: str
    architecture: str
    prefix: str  #: of the encoder's names, such as ``bert.``
    fields: Callable[[Mapping[str, Any]], Mapping[str, Any]]  #: sizes -> fields of its configuration
    extra: Callable[[Mapping[str, Any]], Mapping[str, Tensor]] = field(default=_NO_TENSORS)
    """Sizes -> tensors that its class has and ours does without, which change no state."""
    fits: Callable[[Mapping[str, Any]], bool] = field(default=lambda sizes: True)
    """Whether its class can have these sizes."""


#: How the names of heads of transformers begin.
_HEADS = ("cls.", "lm_head.", "pred_layer.", "classifier.", "sequence_summary.", "qa_outputs.")


def published_name(ours: str, rules: tuple[Rule, ...], prefix: str) -> str | None:
    """The published name that the rules place at one of ours, written with its ``prefix``; None: there is none."""
    places = [(rule.theirs, rule.ours) for rule in rules if isinstance(rule, Rename)]
    places += [(rule.theirs, place) for rule in rules if isinstance(rule, OneOf) for place in rule.ours]
    for theirs, place in sorted(places, key=lambda pair: pair[1].count("{")):  # a name in letters before any letters
        found = re.fullmatch(_named_groups(place), ours)
        if found and set(re.findall(r"\{(\w+)\}", theirs)) <= found.groupdict().keys():
            name = re.sub(r"\[([^\]]*)\]", r"\1", theirs).format(**found.groupdict())
            if name.startswith((prefix, *_HEADS)):
                return name
    return None


def _named_groups(ours: str) -> str:
    return re.sub(
        r"\\\{(\w+)\\\}", lambda name: rf"(?P<{name[1]}>{'[0-9]+' if name[1] == 'i' else '[^.]+'})", re.escape(ours)
    )


def to_published(
    tensors: Mapping[str, Tensor], form: TransformersForm, rules: tuple[Rule, ...], sizes: Mapping[str, Any]
) -> dict[str, Tensor]:
    """Parameters under published names where there are such, and what transformers needs besides.

    Of two heads that transformers calls alike neither is renamed.
    """
    alike = [start for head in CLASSIFIERS if any(name.startswith(start := f"heads.{head}.") for name in tensors)]
    kept = tuple(alike) if len(alike) > 1 else ()
    written = {
        name if kept and name.startswith(kept) else published_name(name, rules, form.prefix) or name: tensor
        for name, tensor in tensors.items()
    }
    return {**written, **form.extra(sizes)}


def class_fields(form: TransformersForm, system: System) -> dict[str, Any]:
    """The fields of the configuration with which transformers opens a system, as the class with its one known head."""
    known = [name for name in system.heads if name in FINE_TUNED]
    head = known[0] if len(known) == 1 else None
    ending = "Model" if head is None else FINE_TUNED[head]
    untied = system.head_sizes.get("masked-tokens", {}).get("tied") is False
    return {
        "model_type": form.model_type,
        "architectures": [form.architecture.removesuffix("Model") + ending],
        **form.fields(system.sizes),
        **({"tie_word_embeddings": False} if untied else {}),
        **(label_fields(system, head) if head in CLASSIFIERS else {}),
    }


def from_published(
    tensors: Mapping[str, Tensor],
    form: TransformersForm,
    rules: tuple[Rule, ...],
    sizes: Mapping[str, Any],
    ours: set[str],
) -> dict[str, Tensor]:
    """Parameters of a saved folder under our names, whichever names each was saved with.

    Args:
        tensors: of the file.
        form: that the folder may have been written in.
        rules: of the recipe.
        sizes: of the system.
        ours: names that the system has.
    """
    extra = {name.removeprefix(form.prefix) for name in form.extra(sizes)}
    kept = {name: tensor for name, tensor in tensors.items() if name in ours or name.startswith(("heads.", "task."))}
    rest = {
        name: tensor
        for name, tensor in tensors.items()
        if name not in kept and name.removeprefix(form.prefix) not in extra
    }
    translation = translate(rest, rules)
    strangers = {name: rest[name] for name in translation.strangers}
    return {**strangers, **translation.tensors, **kept}


def bert_fields(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of BertConfig."""
    dropout = sizes["attention_dropout"]
    return {
        "hidden_size": sizes["dim"],
        "num_attention_heads": sizes["num_heads"],
        "num_hidden_layers": sizes["num_layers"],
        "intermediate_size": sizes["ffn_dim"],
        "vocab_size": sizes["vocab_size"],
        "max_position_embeddings": sizes["max_positions"],
        "type_vocab_size": sizes["num_segments"],
        "hidden_act": sizes["activation"],
        "layer_norm_eps": sizes["norm_eps"],
        "hidden_dropout_prob": sizes["dropout"],
        "attention_probs_dropout_prob": sizes["dropout"] if dropout is None else dropout,
    }


def rembert_fields(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of RemBertConfig."""
    return {
        **bert_fields(sizes),
        "input_embedding_size": sizes["input_dim"],
        "output_embedding_size": sizes["output_dim"],
        "classifier_dropout_prob": sizes["dropout"],
        "tie_word_embeddings": False,
    }


BERT_FORM = TransformersForm("bert", "BertModel", "bert.", bert_fields)


def _roberta_fields(sizes: Mapping[str, Any]) -> dict[str, Any]:
    fields = bert_fields(sizes)
    return {
        **fields,
        "type_vocab_size": max(1, fields["type_vocab_size"]),
        "pad_token_id": sizes["position_offset"] - 1,
    }


def _one_segment(sizes: Mapping[str, Any]) -> dict[str, Tensor]:
    """RobertaModel always adds a segment; one of zeros adds nothing."""
    name = "roberta.embeddings.token_type_embeddings.weight"
    return {} if sizes["num_segments"] else {name: torch.zeros(1, sizes["dim"])}


ROBERTA_FORM = TransformersForm("roberta", "RobertaModel", "roberta.", _roberta_fields, _one_segment)
XLM_ROBERTA_FORM = replace(ROBERTA_FORM, model_type="xlm-roberta", architecture="XLMRobertaModel")
REMBERT_FORM = TransformersForm("rembert", "RemBertModel", "rembert.", rembert_fields)


def _xlm_fields(sizes: Mapping[str, Any]) -> dict[str, Any]:
    """The fields of XLMConfig; without languages there is one, which is not embedded."""
    dropout = sizes["attention_dropout"]
    return {
        "vocab_size": sizes["vocab_size"],
        "emb_dim": sizes["dim"],
        "n_heads": sizes["num_heads"],
        "n_layers": sizes["num_layers"],
        "n_langs": max(1, sizes["num_languages"]),
        "use_lang_emb": sizes["num_languages"] > 0,
        "max_position_embeddings": sizes["max_positions"],
        "sinusoidal_embeddings": sizes["positions"] == "sinusoidal",
        "gelu_activation": sizes["activation"] == "gelu",
        "layer_norm_eps": sizes["norm_eps"],
        "dropout": sizes["dropout"],
        "attention_dropout": sizes["dropout"] if dropout is None else dropout,
    }


def _fits_xlm(sizes: Mapping[str, Any]) -> bool:
    """XLMModel has four times its dim between the layers, and embeds languages where there are two at least."""
    return (
        sizes["ffn_dim"] in (None, 4 * sizes["dim"])
        and sizes["num_languages"] != 1
        and sizes["activation"] in ("gelu", "relu")
    )


XLM_FORM = TransformersForm("xlm", "XLMModel", "transformer.", _xlm_fields, fits=_fits_xlm)
