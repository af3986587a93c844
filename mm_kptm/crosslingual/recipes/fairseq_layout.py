"""Key names that fairseq's encoder-decoders share (BART, mBART, VECO)."""

from mm_kptm.systems.rules import Drop, Rename, Rule

_ROLES = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "out_proj"}


def stack_rules(theirs: str, text: str, ours: str) -> tuple[Rule, ...]:
    """Key renamings of one stack under the published prefix ``theirs``."""
    layer, place = f"{theirs}.layers.{{i}}", f"{ours}.layers.{{i}}"
    return (
        Rename(f"{theirs}.embed_positions.weight", f"{text}.position.weight"),
        Rename(f"{theirs}.layernorm_embedding.{{leaf}}", f"{text}.norm.{{leaf}}"),
        Rename(f"{theirs}.layer_norm.{{leaf}}", f"{ours}.norm.{{leaf}}"),
        Drop(f"{theirs}.version", because="a number that says which fairseq wrote the file"),
        *attention_rules(f"{layer}.self_attn", f"{place}.self_attention"),
        *attention_rules(f"{layer}.encoder_attn", f"{place}.cross_attention"),
        Rename(f"{layer}.fc1.{{leaf}}", f"{place}.ffn.up_proj.{{leaf}}"),
        Rename(f"{layer}.fc2.{{leaf}}", f"{place}.ffn.down_proj.{{leaf}}"),
        Rename(f"{layer}.final_layer_norm.{{leaf}}", f"{place}.ffn.norm.{{leaf}}"),
    )


def attention_rules(theirs: str, ours: str) -> tuple[Rename, ...]:
    """Key renamings of one attention sublayer and of its norm, which fairseq stores separately."""
    return (
        *(Rename(f"{theirs}.{role}.{{leaf}}", f"{ours}.attention.{part}.{{leaf}}") for role, part in _ROLES.items()),
        Rename(f"{theirs}_layer_norm.{{leaf}}", f"{ours}.norm.{{leaf}}"),
    )
