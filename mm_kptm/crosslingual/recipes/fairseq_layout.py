"""Key names that fairseq's encoder-decoders share (BART, mBART, VECO)."""

from mm_kptm.systems.rules import Drop, Rename, Rule


def stack_rules(theirs: str, text: str, ours: str) -> tuple[Rule, ...]:
    """The renamings of one stack under the published prefix ``theirs``."""
    layer, place = f"{theirs}.layers.{{i}}", f"{ours}.layers.{{i}}"
    roles = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "out_proj"}
    sublayers = {"self_attn": "self_attention", "encoder_attn": "cross_attention"}
    return (
        Rename(f"{theirs}.embed_positions.weight", f"{text}.position.weight"),
        Rename(f"{theirs}.layernorm_embedding.{{leaf}}", f"{text}.norm.{{leaf}}"),
        Rename(f"{theirs}.layer_norm.{{leaf}}", f"{ours}.norm.{{leaf}}"),
        Drop(f"{theirs}.version", because="a number that says which fairseq wrote the file"),
        *(
            Rename(f"{layer}.{sublayer}.{role}.{{leaf}}", f"{place}.{part}.attention.{mine}.{{leaf}}")
            for sublayer, part in sublayers.items()
            for role, mine in roles.items()
        ),
        *(
            Rename(f"{layer}.{sublayer}_layer_norm.{{leaf}}", f"{place}.{part}.norm.{{leaf}}")
            for sublayer, part in sublayers.items()
        ),
        Rename(f"{layer}.fc1.{{leaf}}", f"{place}.ffn.up_proj.{{leaf}}"),
        Rename(f"{layer}.fc2.{{leaf}}", f"{place}.ffn.down_proj.{{leaf}}"),
        Rename(f"{layer}.final_layer_norm.{{leaf}}", f"{place}.ffn.norm.{{leaf}}"),
    )
