"""Parts of published checkpoints that are no part of an encoder."""

from mm_kptm.keymap import Drop


def drop_below(beginning: str, because: str, *, depth: int = 7) -> tuple[Drop, ...]:
    """Rules that leave behind every published key below ``beginning``, at most ``depth`` parts deep."""
    endings = [""]
    for number in range(depth):
        endings.append(f"{endings[-1]}.{{{chr(ord('a') + number)}}}")
    return tuple(Drop(beginning + ending, because) for ending in endings[1:])
