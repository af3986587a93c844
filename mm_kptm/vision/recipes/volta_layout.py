"""Configurations and key names of VOLTA's checkpoints, shared by the controlled and the multilingual models."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from mm_kptm.errors import UserError
from mm_kptm.recipes.bert import BERT_FIELDS, embedding_rules, vocabulary_rules
from mm_kptm.systems.rules import Drop, OneOf, Rename, Rule, Same
from mm_kptm.vision.modules.two_stream.gated_sublayers import OWN_SIZES, own_sizes_in
from mm_kptm.vision.modules.two_stream.sublayer_schedule import schedule_in
from mm_kptm.vision.objectives.region_targets import TARGETS
from mm_kptm.vision.recipes.from_bert import NEVER_READ
from mm_kptm.vision.recipes.head_sizes import rows_of


@dataclass(frozen=True)
class Published:
    """What the configurations of one model say beside sizes.

    Args:
        embedding: of ``image_embeddings``.
        recipe: name of the recipe, for messages.
        roberta: whether the text is RoBERTa's, with positions behind the padding id.
        place: of the whole image among the regions, ``add_global_imgfeat``; None: there is none.
    """

    embedding: str
    recipe: str
    roberta: bool = False
    place: str | None = "first"


def _refuse(asked: str, instead: str) -> UserError:
    return UserError(f"this configuration of VOLTA asks for {asked}, which is not built; {instead}")


def read_config(config: Mapping[str, Any], *, model: Published) -> dict[str, Any]:
    """Sizes and options of a published configuration.

    Raises:
        UserError: it is of another model, or has an option that the recipe does not support.
    """
    if (other := config.get("image_embeddings", model.embedding)) != model.embedding:
        if other not in EMBEDDINGS:
            raise _refuse(f"image_embeddings {other}", f"there are {', '.join(EMBEDDINGS)}")
        raise UserError(
            f"this configuration has image_embeddings {other}, but {model.recipe} was asked for; load it as "
            f"volta-{other}"
        )
    place = config.get("add_global_imgfeat", None if "image_embeddings" in config else model.place)
    if place != model.place:
        where = "no whole image" if model.place is None else f"the whole image {model.place}"
        raise _refuse(f"add_global_imgfeat {place}", f"{model.recipe} has {where}")
    if (fusion := config.get("fusion_method", "mul")) in ("none", "vl-bert_vqa"):
        raise _refuse(f"fusion_method {fusion}", "there are mul, sum and text")
    if config.get("v_pooler_size", size := config.get("pooler_size")) != size and fusion != "text":
        raise _refuse(f"v_pooler_size {config['v_pooler_size']} beside pooler_size {size}", "make them equal")
    named = f"{config.get('model', '')} {config.get('bert_model', '')}".strip()
    if named and ("roberta" in named) != model.roberta:
        kind, others = ("BERT", "RoBERTa") if model.roberta else ("RoBERTa", "BERT")
        raise _refuse(f"a text stream of {kind} (model, bert_model)", f"{model.recipe} has one of {others}")
    if config.get("qa_task_weight"):
        raise _refuse(f"qa_task_weight {config['qa_task_weight']}", "fine-tune the head vqa on questions")
    if config.get("fixed_layers"):
        raise _refuse(f"fixed_layers {config['fixed_layers']}", "leave these layers out of the optimiser")
    sizes: dict[str, Any] = {}
    if model.embedding == "vl-bert" and "image_embeddings" not in config:
        sizes["num_segments"] = 3  # a start from BERT, which has two
    if model.roberta and config.get("pad_token_id") is not None:
        sizes["position_offset"] = config["pad_token_id"] + 1
    if (schedule := schedule_in(config)) is not None:
        sizes["schedule"] = schedule
    if own := own_sizes_in(config):
        sizes["own_sizes"] = own
    if config.get("v_coordinate_embeddings_dim") is not None:
        sizes["box_frequencies"] = config["v_coordinate_embeddings_dim"]
    if "6" in config.get("visual_target_weights", {}):
        sizes["masks_words"] = config["visual_target_weights"]["6"] > 0
    return sizes


_LAYER, _STEP = "bert.encoder.layer.{i}", "encoder.steps.{i}"


def _sublayer_rules() -> Iterator[Rule]:
    """Key renamings of sub-layers; shared ones are published under both names and stored under that of the text."""
    for mark, side in (("", "left"), ("v_", "right")):
        for role in ("query", "key", "value"):
            yield Rename(f"{_LAYER}.attention_self.{mark}{role}.{{leaf}}", f"{_STEP}.{side}.attention.{role}.{{leaf}}")
        yield Rename(f"{_LAYER}.attention_output.{mark}dense.{{leaf}}", f"{_STEP}.{side}.attention.out_proj.{{leaf}}")
        yield Rename(f"{_LAYER}.attention_output.{mark}LayerNorm.{{leaf}}", f"{_STEP}.{side}.norm.{{leaf}}")
        yield Rename(f"{_LAYER}.intermediate.{mark}dense.{{leaf}}", f"{_STEP}.{side}.up_proj.{{leaf}}")
        yield Rename(f"{_LAYER}.output.{mark}dense.{{leaf}}", f"{_STEP}.{side}.down_proj.{{leaf}}")
        yield Rename(f"{_LAYER}.output.{mark}LayerNorm.{{leaf}}", f"{_STEP}.{side}.norm.{{leaf}}")


def _task_rules() -> Iterator[Rule]:
    """Key renamings of the head of one task, published under the task's number."""
    for number, ours in (("0", "transform.dense"), ("2", "transform.norm"), ("3", "out")):
        heads = tuple(f"heads.{head}.{ours}.{{leaf}}" for head in ("vqa", "nlvr2"))
        yield OneOf(f"clfs_dict.{{task}}.logit_fc.{number}.{{leaf}}", heads)
    for number in ("0", "3"):
        yield Rename(f"clfs_dict.{{task}}.{number}.{{leaf}}", f"heads.grounding.{number}.{{leaf}}")
    single = ("retrieval", "visual-entailment", "grounding")
    yield OneOf("clfs_dict.{task}.{leaf}", tuple(f"heads.{head}.{{leaf}}" for head in single))


_DUAL, _JOINT = "bert.v_embeddings", "bert.embeddings"
OURS = "encoder.embed.regions"  #: our name of the regions' embedding

_TYPED: tuple[Rule, ...] = (
    Rename(f"{_JOINT}.image_embeddings.{{leaf}}", f"{OURS}.feature.{{leaf}}"),
    Rename(f"{_JOINT}.image_location_embeddings.{{leaf}}", f"{OURS}.box.{{leaf}}"),
    Rename(f"{_JOINT}.image_layer_norm.{{leaf}}", f"{OURS}.feature_norm.{{leaf}}"),
    Rename(f"{_JOINT}.image_location_layer_norm.{{leaf}}", f"{OURS}.box_norm.{{leaf}}"),
    Rename(f"{_JOINT}.v_LayerNorm.{{leaf}}", f"{OURS}.norm.{{leaf}}"),
)

#: Region key renamings by the embedding of regions.
EMBEDDINGS: dict[str, tuple[Rule, ...]] = {
    "vilbert": (
        Rename(f"{_DUAL}.image_embeddings.{{leaf}}", f"{OURS}.feature.{{leaf}}"),
        Rename(f"{_DUAL}.image_location_embeddings.{{leaf}}", f"{OURS}.box.{{leaf}}"),
        Rename(f"{_DUAL}.LayerNorm.{{leaf}}", f"{OURS}.norm.{{leaf}}"),
    ),
    "lxmert": (
        Rename(f"{_DUAL}.image_embeddings.{{leaf}}", f"{OURS}.feature.{{leaf}}"),
        Rename(f"{_DUAL}.image_location_embeddings.{{leaf}}", f"{OURS}.box.{{leaf}}"),
        Rename(f"{_DUAL}.ImgLayerNorm.{{leaf}}", f"{OURS}.feature_norm.{{leaf}}"),
        Rename(f"{_DUAL}.LocLayerNorm.{{leaf}}", f"{OURS}.box_norm.{{leaf}}"),
    ),
    "uniter": (
        *_TYPED,
        Same(f"{_JOINT}.image_token_type_embeddings.weight", as_=f"{_JOINT}.token_type_embeddings.weight"),
    ),
    "xuniter": (*_TYPED, Rename(f"{_JOINT}.image_token_type_embeddings.weight", f"{OURS}.segment.weight")),
    "uc2": (
        *_TYPED,
        Same(f"{_JOINT}.image_token_type_embeddings.weight", as_=f"{_JOINT}.new_token_type_embeddings.weight"),
    ),
    "visualbert": (
        Rename(f"{_JOINT}.projection.{{leaf}}", f"{OURS}.feature.{{leaf}}"),
        Rename(f"{_JOINT}.token_type_embeddings_visual.weight", f"{OURS}.segment.weight"),
        Rename(f"{_JOINT}.position_embeddings_visual.weight", f"{OURS}.position.weight"),
    ),
    "vl-bert": (
        Rename(f"{_JOINT}.obj_downsample.1.{{leaf}}", f"{OURS}.feature.{{leaf}}"),
        Rename(f"{_JOINT}.object_mask_visual_embedding.weight", f"{OURS}.mask"),
        Rename(f"{_JOINT}.object_linguistic_embeddings.weight", "encoder.embed.region_word.weight"),
        Rename(f"{_JOINT}.object_mask_word_embedding.weight", "encoder.embed.masked_word.weight"),
        Rename(f"{_JOINT}.end_embedding.weight", "encoder.embed.end_word.weight"),
        Rename(f"{_JOINT}.visual_ln_text.{{leaf}}", "encoder.embed.text_visual_norm.{leaf}"),
        Rename(f"{_JOINT}.visual_ln_object.{{leaf}}", "encoder.embed.region_visual_norm.{leaf}"),
    ),
}


def weights_of(embedding: str, *, segments: str = "token_type_embeddings") -> tuple[Rule, ...]:
    """Key renamings of a checkpoint whose regions have this embedding, and whose segments have this name."""
    return (
        Rename(f"{_JOINT}.{segments}.weight", "encoder.embed.text.segment.weight"),
        *(rule for rule in embedding_rules(_JOINT, "encoder.embed.text") if "token_type" not in rule.theirs),
        Drop(f"{_JOINT}.position_ids", because="a buffer that counts from 0"),
        *EMBEDDINGS[embedding],
        *_sublayer_rules(),
        Rename("bert.t_pooler.dense.{leaf}", "encoder.pooler.text.{leaf}"),
        Rename("bert.v_pooler.dense.{leaf}", "encoder.pooler.regions.{leaf}"),
        *vocabulary_rules("bert.embeddings.word_embeddings.weight"),
        Rename("cls.bi_seq_relationship.{leaf}", "heads.image-text-matching.{leaf}"),
        Rename("cls.imagePredictions.transform.dense.{leaf}", "heads.masked-regions.transform.dense.{leaf}"),
        Rename("cls.imagePredictions.transform.LayerNorm.{leaf}", "heads.masked-regions.transform.norm.{leaf}"),
        *(
            Rename(
                f"cls.imagePredictions.decoder_dict.{number}.{{leaf}}", f"heads.masked-regions.out.{target}.{{leaf}}"
            )
            for number, target in enumerate(TARGETS)
        ),
        *_task_rules(),
        *NEVER_READ,
    )


def infer_heads(tensors: Mapping[str, Tensor]) -> dict[str, dict[str, Any]]:
    """What a file predicts of masked regions, and the sizes of the heads of its tasks."""
    found = rows_of(
        {
            "vqa": {"num_answers": "out.bias", "inner_dim": "transform.dense.bias"},
            "nlvr2": {"num_classes": "out.bias", "inner_dim": "transform.dense.bias"},
            "masked-regions": {
                "num_objects": "out.objects.bias",
                "num_attributes": "out.attributes.bias",
                "num_classes": "out.distributions.bias",
            },
        }
    )(tensors)
    head = "heads.masked-regions"
    targets = [target for target in TARGETS if f"{head}.out.{target}.bias" in tensors]
    if targets:
        normalized = f"{head}.transform.norm.weight" in tensors
        found.setdefault("masked-regions", {}).update(targets=" ".join(targets), normalized=normalized)
        if "classes" in targets:
            found["masked-regions"]["num_classes"] = len(tensors[f"{head}.out.classes.bias"])
    return found


#: Published fields that are read here, and those of pretraining alone, which change no state.
READ = frozenset(
    {"image_embeddings", "add_global_imgfeat", "v_pooler_size", "model", "bert_model", "qa_task_weight", "fixed_layers"}
    | {"visual_target_weights", "v_coordinate_embeddings_dim", "pad_token_id", "image_head_ln", "clf_hidden_size"}
    | {"shared_sublayers", "single_ln_sublayers", "t_ff_sublayers", "v_ff_sublayers", "v_initializer_range"}
    | {f"{one}{other}_attn_sublayers" for one in "tv" for other in "tv"}
    | set(OWN_SIZES.values())
)

#: Fields of a configuration that are sizes.
FIELDS = {
    **{theirs: ours for theirs, ours in BERT_FIELDS.items() if ours != "num_layers"},
    "v_hidden_size": "region_states",
    "v_num_attention_heads": "region_heads",
    "v_intermediate_size": "region_ffn_dim",
    "v_feature_size": "region_dim",
    "pooler_size": "pooled_dim",
    "num_locs": "box_dim",
    "fusion_method": "fusion",
    "fusion_act": "pooler_activation",
    "v_hidden_act": "region_activation",
    "attention_probs_dropout_prob": "attention_dropout",
    "v_hidden_dropout_prob": "region_dropout",
    "v_attention_probs_dropout_prob": "region_attention_dropout",
}
