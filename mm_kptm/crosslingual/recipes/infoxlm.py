"""InfoXLM and XLM-Align: XLM-R further pretrained on translations, with contrast or word alignment."""

from collections.abc import Mapping
from typing import Any

from mm_kptm.crosslingual.objectives.momentum_contrast import MomentumContrast
from mm_kptm.crosslingual.objectives.word_alignment import word_alignment
from mm_kptm.crosslingual.recipes.xlm_r import (
    HEADS,
    HUGGING_FACE_RULES,
    LARGE,
    NOTES,
    encoder_rules,
    read_config,
    xlm_r,
)
from mm_kptm.models.single import SingleStream
from mm_kptm.recipes.bert import class_counts
from mm_kptm.recipes.roberta import ROBERTA_TABLES, configured_heads, fairseq_rules
from mm_kptm.systems.published_fields import check_fields
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, Rename, Rule
from mm_kptm.systems.transformers_form import XLM_ROBERTA_FORM


def contrast(encoder: SingleStream, *, queue_size: int = 131072) -> MomentumContrast:
    """The momentum encoder and the queue of translations that InfoXLM is trained with (Chi et al. 2021, 3.2)."""
    return MomentumContrast(encoder, encoder.dim, queue_size)


def read_contrast_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes as in XLM-R's configuration.

    Raises:
        UserError: the configuration has an unsupported value.
    """
    check_fields("infoxlm", {**config, **config.get("args", {})}, {"use_proj": (True,)})
    return read_config(config)


def read_alignment_config(config: Mapping[str, Any]) -> dict[str, Any]:
    """Sizes as in XLM-R's configuration.

    Raises:
        UserError: the configuration has an unsupported value.
    """
    check_fields("xlm-align", {**config, **config.get("args", {})}, {"no_linear_proj": (False,)})
    return read_config(config)


def _momentum_rules() -> tuple[Rule, ...]:
    """Key renamings of InfoXLM's training checkpoints: encoder, momentum encoder and queue."""
    return (
        *encoder_rules("model_fast."),
        *fairseq_rules("model_slow.{side}.sentence_encoder", "heads.xlco.slow"),
        Drop("model_slow.{side}.lm_head.{leaf}", because="nothing reads the words of the slow model"),
        Drop("model_slow.{side}.lm_head.{part}.{leaf}", because="nothing reads the words of the slow model"),
        Drop("model_slow.classification_heads.{name}.{part}.{leaf}", because="nothing reads a class of the slow model"),
        Rename("proj_matrix_fast", "heads.xlco.projection"),
        Rename("proj_matrix_slow", "heads.xlco.slow_projection"),
        Rename("queue", "heads.xlco.queue"),
        Rename("queue_ptr", "heads.xlco.pointer"),
        Rename("enqueue_cnt", "heads.xlco.count"),
    )


INFOXLM_BASE = Recipe(
    name="infoxlm-base",
    family="infoxlm",
    paper="Chi et al. 2021, InfoXLM: An Information-Theoretic Framework for Cross-Lingual Language Model "
    "Pre-Training, NAACL, arXiv:2007.07834",
    build=xlm_r,
    reads=frozenset({"text"}),
    heads={**HEADS, "xlco": contrast},
    objectives=("masked-tokens", "translation-language-modeling", "xlco"),
    pretraining_heads=("masked-tokens",),
    weights=(*_momentum_rules(), *encoder_rules(), *HUGGING_FACE_RULES),
    model_types=("xlm-roberta",),
    fixed_fields={},
    read_config=read_contrast_config,
    infer_from_shapes=ROBERTA_TABLES,
    infer_heads=class_counts,
    configured_heads=configured_heads,
    transformers=XLM_ROBERTA_FORM,
    notes=(
        *NOTES,
        "the released weights are the encoder alone; a checkpoint of the training fills the head xlco too, whose "
        "queue_size is that of its queue",
        "the first state of layer 8 (base) or 12 (large) is contrasted, without normalisation",
    ),
)

INFOXLM_LARGE = Recipe(
    **{**vars(INFOXLM_BASE), "name": "infoxlm-large", "sizes": LARGE, "objective_arguments": {"xlco": {"depth": 0.5}}}
)

XLM_ALIGN_BASE = Recipe(
    name="xlm-align-base",
    family="xlm-align",
    paper="Chi et al. 2021, Improving Pretrained Cross-Lingual Language Models via Self-Labeled Word Alignment, ACL, "
    "arXiv:2106.06381",
    build=xlm_r,
    reads=frozenset({"text"}),
    heads={**HEADS, "word-alignment": word_alignment},
    objectives=("masked-tokens", "translation-language-modeling", "word-alignment"),
    pretraining_heads=("masked-tokens",),
    weights=(
        *encoder_rules(),
        Rename("q_linear.{leaf}", "heads.word-alignment.query.{leaf}"),
        Rename("k_linear.{leaf}", "heads.word-alignment.key.{leaf}"),
        *HUGGING_FACE_RULES,
    ),
    model_types=("xlm-roberta",),
    fixed_fields={},
    read_config=read_alignment_config,
    infer_from_shapes=ROBERTA_TABLES,
    infer_heads=class_counts,
    configured_heads=configured_heads,
    transformers=XLM_ROBERTA_FORM,
    notes=(*NOTES, "the released weights are the encoder alone; the head word-alignment was kept in training only"),
)
