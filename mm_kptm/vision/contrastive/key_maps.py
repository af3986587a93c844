"""Published parameter names of two-tower models: open_clip's (and OpenAI's) and those of Hugging Face's CLIP."""

from __future__ import annotations

from mm_kptm.recipes.roberta import hugging_face_rules
from mm_kptm.systems.rules import Drop, Rename, Rule, Split, Transpose

_QKV = ("query", "key", "value")
_COUNTER = "counts batches, and running statistics do not depend on it"
#: Modules of timm whose scale is called ``gamma``, which the reader of checkpoints spells as a norm's ``weight``.
_GAMMA_PARENTS = ("ls1", "ls2", "ls", "layer_scale", "layer_scale_1", "layer_scale_2", "gamma_scale")


def move(theirs: str, ours: str, *, depth: int = 10) -> tuple[Rule, ...]:
    """Rules that move everything below one prefix to another, at most ``depth`` components deep."""
    names = [f"{{{chr(ord('a') + number)}}}" for number in range(depth)]
    endings = [".".join(names[: number + 1]) for number in range(depth)]
    counters = [Drop(f"{theirs}.{ending}.num_batches_tracked", because=_COUNTER) for ending in endings]
    return (*counters, *(Rename(f"{theirs}.{ending}", f"{ours}.{ending}") for ending in endings))


def resblock_rules(theirs: str, ours: str) -> tuple[Rule, ...]:
    """Rules of open_clip's ResidualAttentionBlock, whose query, key and value are one tensor."""
    attention = f"{ours}.self_attention.attention"
    return (
        *(
            Split(f"{theirs}.attn.in_proj_{leaf}", tuple(f"{attention}.{role}.{leaf}" for role in _QKV))
            for leaf in ("weight", "bias")
        ),
        Rename(f"{theirs}.attn.out_proj.{{leaf}}", f"{attention}.out_proj.{{leaf}}"),
        Rename(f"{theirs}.ln_1.{{leaf}}", f"{ours}.self_attention.norm.{{leaf}}"),
        Rename(f"{theirs}.ls_1.weight", f"{ours}.self_attention.scale"),
        Rename(f"{theirs}.mlp.c_fc.{{leaf}}", f"{ours}.ffn.up_proj.{{leaf}}"),
        Rename(f"{theirs}.mlp.c_proj.{{leaf}}", f"{ours}.ffn.down_proj.{{leaf}}"),
        Rename(f"{theirs}.ln_2.{{leaf}}", f"{ours}.ffn.norm.{{leaf}}"),
        Rename(f"{theirs}.ls_2.weight", f"{ours}.ffn.scale"),
    )


def clip_layer_rules(theirs: str, ours: str) -> tuple[Rule, ...]:
    """Rules of a layer of Hugging Face's CLIP."""
    attention = f"{ours}.self_attention.attention"
    return (
        *(Rename(f"{theirs}.self_attn.{role[0]}_proj.{{leaf}}", f"{attention}.{role}.{{leaf}}") for role in _QKV),
        Rename(f"{theirs}.self_attn.out_proj.{{leaf}}", f"{attention}.out_proj.{{leaf}}"),
        Rename(f"{theirs}.layer_norm1.{{leaf}}", f"{ours}.self_attention.norm.{{leaf}}"),
        Rename(f"{theirs}.mlp.fc1.{{leaf}}", f"{ours}.ffn.up_proj.{{leaf}}"),
        Rename(f"{theirs}.mlp.fc2.{{leaf}}", f"{ours}.ffn.down_proj.{{leaf}}"),
        Rename(f"{theirs}.layer_norm2.{{leaf}}", f"{ours}.ffn.norm.{{leaf}}"),
    )


def timm_rules(trunk: str, ours: str) -> tuple[Rule, ...]:
    """Rules of a backbone of timm from the prefix ``trunk`` to the prefix ``ours``."""
    letters = [f"{{{chr(ord('a') + number)}}}" for number in range(6)]
    scales: list[Rule] = []
    for depth in range(1, 7):
        inside = ".".join(letters[:depth])
        scales += [Rename(f"{trunk}.{inside}.{one}.weight", f"{ours}.{inside}.{one}.gamma") for one in _GAMMA_PARENTS]
    blocks = "stages.{a}.blocks.{b}"
    scales.append(Rename(f"{trunk}.{blocks}.weight", f"{ours}.{blocks}.gamma"))  # ConvNeXt
    return (*scales, *move(trunk, ours))


#: Of the class CLIP (text without prefix) and CustomTextCLIP (text under ``text.``), of all image towers.
OPEN_CLIP_RULES: tuple[Rule, ...] = (
    Rename("logit_scale", "encoder.similarity.log_scale"),
    Rename("logit_bias", "encoder.similarity.bias"),
    *(Drop(name, because="says a size, not a weight") for name in ("input_resolution", "context_length", "vocab_size")),
    Drop("[text.]attn_mask", because="the causal mask, which is the same for every text"),
    Rename("visual.class_embedding", "encoder.image.class_embedding"),
    Rename("visual.positional_embedding", "encoder.image.positions"),
    Transpose("visual.proj", "encoder.image.projection.weight"),
    Rename("visual.ln_pre.{leaf}", "encoder.image.norm_pre.{leaf}"),
    Rename("visual.ln_post.{leaf}", "encoder.image.norm.{leaf}"),
    *resblock_rules("visual.transformer.resblocks.{i}", "encoder.image.layers.{i}"),
    Rename("[text.]token_embedding.weight", "encoder.text.encoder.embed.text.word.weight"),
    Rename("[text.]positional_embedding", "encoder.text.encoder.embed.text.position.weight"),
    Rename("[text.]ln_final.{leaf}", "encoder.text.encoder.norm.{leaf}"),
    Transpose("[text.]text_projection", "encoder.text.projection.weight"),
    Rename("[text.]text_projection.{leaf}", "encoder.text.projection.{leaf}"),
    *resblock_rules("[text.]transformer.resblocks.{i}", "encoder.text.encoder.layers.{i}"),
    *hugging_face_rules("text.transformer.", "encoder.text.encoder"),
    Rename("text.proj.{i}.weight", "encoder.text.projection.{i}.weight"),
    Rename("text.proj.weight", "encoder.text.projection.weight"),
    *timm_rules("visual.trunk", "encoder.image.trunk"),
    *move("visual.head", "encoder.image.head"),
    *move("visual", "encoder.image"),  # the ResNet, and the convolution that both towers call conv1
)


def hugging_face_vision_rules(ours: str = "encoder.image") -> tuple[Rule, ...]:
    """Rules of the vision transformer of Hugging Face's CLIP and AltCLIP, the latter perhaps with ``layer``."""
    return (
        Rename("vision_model.embeddings.class_embedding", f"{ours}.class_embedding"),
        Rename("vision_model.embeddings.patch_embedding.weight", f"{ours}.conv1.weight"),
        Rename("vision_model.embeddings.position_embedding.weight", f"{ours}.positions"),
        Drop("vision_model.embeddings.position_ids", because="a buffer that counts from 0"),
        Rename("vision_model.pre_layrnorm.{leaf}", ours + ".norm_pre.{leaf}"),
        *clip_layer_rules("vision_model.encoder.layers.{i}", f"{ours}.layers.{{i}}"),
        *clip_layer_rules("vision_model.encoder.layer.{i}", f"{ours}.layers.{{i}}"),
        Rename("vision_model.post_layernorm.{leaf}", ours + ".norm.{leaf}"),
        Rename("visual_projection.weight", f"{ours}.projection.weight"),
    )


HUGGING_FACE_CLIP_RULES: tuple[Rule, ...] = (
    *hugging_face_vision_rules(),
    Rename("text_model.embeddings.token_embedding.weight", "encoder.text.encoder.embed.text.word.weight"),
    Rename("text_model.embeddings.position_embedding.weight", "encoder.text.encoder.embed.text.position.weight"),
    Drop("text_model.embeddings.position_ids", because="a buffer that counts from 0"),
    *clip_layer_rules("text_model.encoder.layers.{i}", "encoder.text.encoder.layers.{i}"),
    Rename("text_model.final_layer_norm.{leaf}", "encoder.text.encoder.norm.{leaf}"),
    Rename("text_projection.weight", "encoder.text.projection.weight"),
)
