"""ViLBERT and 12-in-1: text and regions in two streams of different widths with co-attention."""

from collections.abc import Callable, Iterator, Sequence
from typing import TypeVar

from torch import nn

from mm_kptm.nn.attention import Attention
from mm_kptm.nn.embeddings import TextEmbedding
from mm_kptm.nn.heads import Classifier
from mm_kptm.nn.init import bert_init
from mm_kptm.nn.steps import CrossStep, SelfStep, Step
from mm_kptm.nn.sublayers import AttentionSublayer, FeedForwardSublayer, Layer, bert_norm
from mm_kptm.nn.submodules import submodule
from mm_kptm.recipes.bert import (
    BERT_FIELDS,
    activation_of,
    embedding_rules,
    layer_rules,
    masked_tokens,
    vocabulary_rules,
)
from mm_kptm.systems.norm_eps import takes_norm_eps
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.rules import Drop, OneOf, Rename, Rule
from mm_kptm.vision.modules.assembly import TextBesideRegions
from mm_kptm.vision.modules.heads import PooledPairs
from mm_kptm.vision.modules.two_stream.coattention import GuidedAttention, GuidedStep, cross_places
from mm_kptm.vision.modules.two_stream.fused_two_stream import FusedPooler, FusedTwoStream
from mm_kptm.vision.modules.two_stream.pooled_heads import image_text_matching, retrieval, visual_entailment
from mm_kptm.vision.modules.two_stream.region_embeddings import SummedRegionEmbedding
from mm_kptm.vision.modules.two_stream.region_heads import MaskedRegionHead, chosen_widths
from mm_kptm.vision.modules.two_stream.whole_image import TaskBesideImage, TextBesideImage
from mm_kptm.vision.objectives.region_targets import TARGETS, target_widths
from mm_kptm.vision.recipes.from_bert import NEVER_READ
from mm_kptm.vision.recipes.head_sizes import rows_of
from mm_kptm.vision.recipes.vilbert_layout import NUM_TASKS, READ, configured_heads, read_config

M = TypeVar("M", bound=nn.Module)


@takes_norm_eps
def vilbert(
    *,
    dim: int = 768,
    num_heads: int = 12,
    num_layers: int = 12,
    ffn_dim: int = 3072,
    region_states: int = 1024,
    region_heads: int = 8,
    num_region_layers: int = 6,
    region_ffn_dim: int = 1024,
    cross_dim: int = 1024,
    cross_heads: int = 8,
    num_cross_layers: int = 6,
    cross_text: Sequence[int] | None = None,
    cross_regions: Sequence[int] | None = None,
    vocab_size: int = 30522,
    max_positions: int = 512,
    num_segments: int = 2,
    num_tasks: int = 0,
    region_dim: int = 2048,
    fusion: str = "mul",
    guided: bool = False,
    activation: str = "gelu",
    region_activation: str = "gelu",
    dropout: float = 0.1,
    attention_dropout: float = 0.1,
    region_dropout: float = 0.1,
    region_attention_dropout: float = 0.1,
) -> FusedTwoStream:
    """The encoder of Lu et al. (2019, figure 1).

    Sizes beside the usual ones:
        region_states: width of the regions' stream, where ``region_dim`` is that of their features.
        cross_dim: width of the co-attention and of the pooled vector.
        cross_text: number of text layers before each co-attention; default: the co-attentions precede the last layers.
        cross_regions: the same of the regions.
        num_tasks: of 12-in-1, whose texts carry a task token; 0 without.
        guided: whether the text scales the queries and keys of the regions' layers (``dynamic_attention``).
    """

    def text_layer(attention: Attention) -> Layer:
        feed = FeedForwardSublayer(dim, ffn_dim, bert_norm(dim), activation=activation, dropout=dropout)
        return Layer(AttentionSublayer(attention, bert_norm(dim), dropout=dropout), feed)

    def region_layer(attention: Attention) -> Layer:
        norm, drop = bert_norm(region_states), region_dropout
        feed = FeedForwardSublayer(region_states, region_ffn_dim, norm, activation=region_activation, dropout=drop)
        return Layer(AttentionSublayer(attention, bert_norm(region_states), dropout=drop), feed)

    def text_step() -> Step:
        return SelfStep(text_layer(Attention(dim, num_heads, dropout=attention_dropout)), None)

    def region_step() -> Step:
        if guided:
            attention = GuidedAttention(region_states, region_heads, text_dim=dim, dropout=region_attention_dropout)
            return GuidedStep(region_layer(attention))
        return SelfStep(None, region_layer(Attention(region_states, region_heads, dropout=region_attention_dropout)))

    def cross_step() -> Step:
        # each direction has separate weights, and the attention dropout of the source stream
        reads_regions = Attention(
            dim, cross_heads, source_dim=region_states, width=cross_dim, dropout=region_attention_dropout
        )
        reads_text = Attention(region_states, cross_heads, source_dim=dim, width=cross_dim, dropout=attention_dropout)
        return CrossStep(text_layer(reads_regions), region_layer(reads_text))

    def steps() -> Iterator[tuple[str, Step]]:
        text = regions = 0
        places = cross_places(num_layers, num_region_layers, num_cross_layers, cross_text, cross_regions)
        for i, (before_text, before_regions) in enumerate(places):
            yield from ((f"text-{j}", text_step()) for j in range(text, before_text))
            yield from ((f"regions-{j}", region_step()) for j in range(regions, before_regions))
            yield f"cross-{i}", cross_step()
            text, regions = before_text, before_regions
        yield from ((f"regions-{j}", region_step()) for j in range(regions, num_region_layers))
        yield from ((f"text-{j}", text_step()) for j in range(text, num_layers))

    words = TextEmbedding(vocab_size, dim, max_positions=max_positions, num_segments=num_segments, dropout=dropout)
    boxed = SummedRegionEmbedding(region_dim, region_states, dropout=region_dropout)
    embed = (
        TaskBesideImage(words, boxed, region_dim=region_dim, num_tasks=num_tasks)
        if num_tasks
        else TextBesideImage(words, boxed, region_dim=region_dim)
    )
    pooler = FusedPooler(dim, region_states, cross_dim, fusion=fusion)
    return _fresh(FusedTwoStream(embed, steps(), pooler, dim=dim, region_states=region_states))


def masked_regions(
    encoder: FusedTwoStream, *, target: str = "distributions", num_classes: int = 1601
) -> MaskedRegionHead:
    """Masked-region head (Lu et al. 2019, section 2.3).

    ``target`` is distributions (``visual_target`` 0), features (1) or contrast (2), the last two as wide as a feature.
    The activation is that of the text.
    """
    region_dim = submodule(encoder, "embed", TextBesideRegions).region_dim
    sizes = target_widths(region_dim, num_classes=num_classes, num_objects=num_classes, num_attributes=num_classes)
    published = {name: sizes[name] for name in list(TARGETS)[:3]}
    head = MaskedRegionHead(encoder.region_states, chosen_widths(target, published), activation=activation_of(encoder))
    return _fresh(head)


def vqa(encoder: FusedTwoStream, *, num_answers: int = 3129) -> Classifier:
    """Logits of all answers from the pooled vector."""
    return _fresh(Classifier(encoder.pooled_dim, num_answers))


def gqa(encoder: FusedTwoStream, *, num_answers: int = 1533) -> Classifier:
    """Logits of GQA's answers from the pooled vector."""
    return _fresh(Classifier(encoder.pooled_dim, num_answers))


def nlvr2(encoder: FusedTwoStream, *, num_classes: int = 2) -> PooledPairs:
    """False (0) or true (1) of a text about two images, from the two pooled vectors."""
    return _fresh(PooledPairs(encoder.pooled_dim, num_classes=num_classes))


def grounding(encoder: FusedTwoStream) -> nn.Linear:
    """One logit per region state (RefCOCO, Visual7W, Flickr30k)."""
    return _fresh(nn.Linear(encoder.region_states, 1))


def token_scores(encoder: FusedTwoStream) -> nn.Linear:
    """One logit per token state; in every multi-task checkpoint, though no published task trains it."""
    return _fresh(nn.Linear(encoder.dim, 1))


def _fresh(module: M) -> M:
    bert_init(module)
    return module


_CROSS, _OURS = "bert.encoder.c_layer.{i}", "encoder.steps.cross-{i}"


def _cross_rules() -> Iterator[Rule]:
    """Key renamings of co-attention; published projections have the number of their stream: 1 regions, 2 text."""
    for reader, query, source in (("left", 2, 1), ("right", 1, 2)):
        attention = f"{_OURS}.{reader}.self_attention.attention"
        yield Rename(f"{_CROSS}.biattention.query{query}.{{leaf}}", f"{attention}.query.{{leaf}}")
        yield Rename(f"{_CROSS}.biattention.key{source}.{{leaf}}", f"{attention}.key.{{leaf}}")
        yield Rename(f"{_CROSS}.biattention.value{source}.{{leaf}}", f"{attention}.value.{{leaf}}")
        yield Rename(f"{_CROSS}.biOutput.dense{query}.{{leaf}}", f"{attention}.out_proj.{{leaf}}")
        yield Rename(f"{_CROSS}.biOutput.LayerNorm{query}.{{leaf}}", f"{_OURS}.{reader}.self_attention.norm.{{leaf}}")
        yield Drop(f"{_CROSS}.biOutput.q_dense{query}.{{leaf}}", because="the released code never uses it")
    for theirs, reader in (("t", "left"), ("v", "right")):
        yield Rename(f"{_CROSS}.{theirs}_intermediate.dense.{{leaf}}", f"{_OURS}.{reader}.ffn.up_proj.{{leaf}}")
        yield Rename(f"{_CROSS}.{theirs}_output.dense.{{leaf}}", f"{_OURS}.{reader}.ffn.down_proj.{{leaf}}")
        yield Rename(f"{_CROSS}.{theirs}_output.LayerNorm.{{leaf}}", f"{_OURS}.{reader}.ffn.norm.{{leaf}}")


def _classifier_rules(theirs: str, head: str) -> tuple[Rename, ...]:
    """Key renamings of a published ``Sequential`` of dense, activation, norm, dense."""
    parts = (("0", "transform.dense"), ("2", "transform.norm"), ("3", "out"))
    return tuple(
        Rename(f"{theirs}.logit_fc.{number}.{{leaf}}", f"heads.{head}.{ours}.{{leaf}}") for number, ours in parts
    )


_SELF = "bert.encoder.v_layer.{i}.attention.self"

#: Heads of the published multi-task model, by the names of this suite.
TASKS: dict[str, Callable[..., nn.Module]] = {
    "vqa": vqa,
    "gqa": gqa,
    "nlvr2": nlvr2,
    "retrieval": retrieval,
    "visual-entailment": visual_entailment,
    "grounding": grounding,
    "token-scores": token_scores,
}

VILBERT_BASE = Recipe(
    name="vilbert-base",
    family="vilbert",
    paper="Lu et al. 2019, ViLBERT: Pretraining Task-Agnostic Visiolinguistic Representations for Vision-and-Language "
    "Tasks, NeurIPS, arXiv:1908.02265",
    build=vilbert,
    model_types=("bert", "vilbert"),
    reads=frozenset({"text", "regions"}),
    heads={
        "masked-tokens": masked_tokens,
        "image-text-matching": image_text_matching,
        "masked-regions": masked_regions,
        **TASKS,
    },
    objectives=("vilbert-pretraining",),
    pretraining_heads=("masked-tokens", "image-text-matching", "masked-regions"),
    task_losses={"grounding": "overlap", "retrieval": "choice"},
    weights=(
        *embedding_rules("bert.embeddings", "encoder.embed.text"),
        Rename("bert.embeddings.task_embeddings.weight", "encoder.embed.task.weight"),
        Drop("bert.embeddings.position_ids", because="a buffer that counts from 0"),
        Rename("bert.v_embeddings.image_embeddings.{leaf}", "encoder.embed.regions.feature.{leaf}"),
        Rename("bert.v_embeddings.image_location_embeddings.{leaf}", "encoder.embed.regions.box.{leaf}"),
        Rename("bert.v_embeddings.LayerNorm.{leaf}", "encoder.embed.regions.norm.{leaf}"),
        *layer_rules("bert.encoder.layer.{i}", "encoder.steps.text-{i}.left"),
        Rename(
            f"{_SELF}.dyLinear_q.{{leaf}}", "encoder.steps.regions-{i}.right.self_attention.attention.query_gate.{leaf}"
        ),
        Rename(
            f"{_SELF}.dyLinear_k.{{leaf}}", "encoder.steps.regions-{i}.right.self_attention.attention.key_gate.{leaf}"
        ),
        *layer_rules("bert.encoder.v_layer.{i}", "encoder.steps.regions-{i}.right"),
        *_cross_rules(),
        Rename("bert.t_pooler.dense.{leaf}", "encoder.pooler.text.{leaf}"),
        Rename("bert.v_pooler.dense.{leaf}", "encoder.pooler.regions.{leaf}"),
        *vocabulary_rules("bert.embeddings.word_embeddings.weight"),
        Rename("cls.bi_seq_relationship.{leaf}", "heads.image-text-matching.{leaf}"),
        Rename("cls.imagePredictions.transform.dense.{leaf}", "heads.masked-regions.transform.dense.{leaf}"),
        Rename("cls.imagePredictions.transform.LayerNorm.{leaf}", "heads.masked-regions.transform.norm.{leaf}"),
        OneOf(
            "cls.imagePredictions.decoder.{leaf}",
            tuple(f"heads.masked-regions.out.{target}.{{leaf}}" for target in list(TARGETS)[:3]),
        ),
        *_classifier_rules("vil_prediction", "vqa"),
        *_classifier_rules("vil_prediction_gqa", "gqa"),
        *_classifier_rules("vil_binary_prediction", "nlvr2"),
        Rename("vil_logit.{leaf}", "heads.retrieval.{leaf}"),
        Rename("vil_tri_prediction.{leaf}", "heads.visual-entailment.{leaf}"),
        Rename("vision_logit.{leaf}", "heads.grounding.{leaf}"),
        Rename("linguisic_logit.{leaf}", "heads.token-scores.{leaf}"),
        *NEVER_READ,
    ),
    config_keys={
        **BERT_FIELDS,
        "v_hidden_size": "region_states",
        "v_num_attention_heads": "region_heads",
        "v_num_hidden_layers": "num_region_layers",
        "v_intermediate_size": "region_ffn_dim",
        "bi_hidden_size": "cross_dim",
        "bi_num_attention_heads": "cross_heads",
        "v_feature_size": "region_dim",
        "fusion_method": "fusion",
        "dynamic_attention": "guided",
        "v_hidden_act": "region_activation",
        "attention_probs_dropout_prob": "attention_dropout",
        "v_hidden_dropout_prob": "region_dropout",
        "v_attention_probs_dropout_prob": "region_attention_dropout",
    },
    read_config=read_config,
    read_fields=READ,
    infer_heads=rows_of(
        {
            "vqa": {"num_answers": "out.bias"},
            "gqa": {"num_answers": "out.bias"},
            "masked-regions": {"num_classes": "out.distributions.bias"},
        }
    ),
    configured_heads=configured_heads,
    infer_from_shapes={
        "region_dim": ("encoder.embed.regions.feature.weight", 1),
        "vocab_size": ("encoder.embed.text.word.weight", 0),
        "num_tasks": ("encoder.embed.task.weight", 0),
    },
    notes=(
        "the first region of every image is the whole image; its feature is the mean of the others unless "
        "Regions.whole_image says otherwise",
        "the published label of a pair is 0 where it matches; image-text-matching has 1 there, as all systems here",
        "load a checkpoint that regresses features (visual_target 1) with heads={'masked-regions': {'target': "
        "'features'}, ...}",
        "a text without regions is pooled alone; that is no case of the paper",
        "a checkpoint of BERT is a start: load its folder with fresh=['encoder.embed.regions.', "
        "'encoder.steps.regions-', 'encoder.steps.cross-', 'encoder.pooler.', 'heads.image', 'heads.masked-regions.']",
        "pooling_method of a published configuration is not read by the released code; fusion_method is",
        "fast_mode of a published configuration changes the order of the work and no result",
    ),
)

TWELVE_IN_ONE = Recipe(
    **{
        **vars(VILBERT_BASE),
        "name": "12-in-1",
        "paper": "Lu et al. 2020, 12-in-1: Multi-Task Vision and Language Representation Learning, CVPR, "
        "arXiv:1912.02315",
        "sizes": {"num_tasks": NUM_TASKS},
        "notes": (*VILBERT_BASE.notes, "tokens.tasks says which of the 20 tasks a text is asked; without it, task 0"),
    }
)
