"""Key names that fairseq's encoder-decoders share (BART, mBART, VECO)."""

from mm_kptm.keymap import Drop, Rename, Rule


def stack_rules(theirs: str, text: str, ours: str) -> tuple[Rule, ...]:
    """The renamings of one stack under the published prefix ``theirs``."""
    layer, place = f"{theirs}.layers.{{i}}", f"{ours}.layers.{{i}}"
    roles = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "merge"}
    reads = {"self_attn": "attend", "encoder_attn": "look"}
    return (
        Rename(f"{theirs}.embed_positions.weight", f"{text}.position.weight"),
        Rename(f"{theirs}.layernorm_embedding.{{leaf}}", f"{text}.norm.{{leaf}}"),
        Rename(f"{theirs}.layer_norm.{{leaf}}", f"{ours}.norm.{{leaf}}"),
        Drop(f"{theirs}.version", because="a number that says which fairseq wrote the file"),
        *(
            Rename(f"{layer}.{read}.{role}.{{leaf}}", f"{place}.{part}.attention.{mine}.{{leaf}}")
            for read, part in reads.items()
            for role, mine in roles.items()
        ),
        *(
            Rename(f"{layer}.{read}_layer_norm.{{leaf}}", f"{place}.{part}.norm.{{leaf}}")
            for read, part in reads.items()
        ),
        Rename(f"{layer}.fc1.{{leaf}}", f"{place}.feed.widen.{{leaf}}"),
        Rename(f"{layer}.fc2.{{leaf}}", f"{place}.feed.narrow.{{leaf}}"),
        Rename(f"{layer}.final_layer_norm.{{leaf}}", f"{place}.feed.norm.{{leaf}}"),
    )
