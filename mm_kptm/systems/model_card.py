"""The model card of a saved folder: what it is, what it was trained on, what was measured, how it is loaded."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from mm_kptm.systems.recipe import Recipe


@dataclass(frozen=True)
class Measured:
    """One measured value, as a card shows it."""

    measure: str
    split: str
    value: float
    n: int  #: examples
    interval: tuple[float, float] | None = None  #: 95 %
    controls: Mapping[str, float] = field(default_factory=dict)  #: values that need no model, or arms without knowledge


def model_card(
    recipe: Recipe,
    *,
    heads: Sequence[str],
    added: Mapping[str, Mapping[str, Any]],
    data: Mapping[str, str],
    training: Mapping[str, Any],
    results: Sequence[Measured],
    in_transformers: str | None,
) -> str:
    """The text of ``README.md``, with the front matter that the hub reads.

    Args:
        recipe: of the system.
        heads: that it was saved with.
        added: parts around the encoder, with their sizes.
        data: hashes by name.
        training: seed, steps and other settings worth a line.
        results: what was measured.
        in_transformers: the class of transformers that opens the folder.
    """
    tags = ["mm-kptm", recipe.family, *sorted(recipe.reads)]
    library = "transformers" if in_transformers else "mm-kptm"
    lines = [
        "---",
        f"library_name: {library}",
        "tags:",
        *(f"- {tag}" for tag in tags),
        "---",
        "",
        f"# {recipe.name}",
        "",
    ]
    lines += [
        f"{recipe.paper}.",
        "",
        f"Reads: {', '.join(sorted(recipe.reads))}. Heads: {', '.join(heads) or 'none'}.",
        "",
    ]
    lines += [
        "```python",
        "import mm_kptm",
        "",
        'system = mm_kptm.load("organisation/name")  # or the path of this folder',
    ]
    lines += ["```", ""]
    if in_transformers:
        lines += [f"`transformers.AutoModel.from_pretrained` opens the encoder as `{in_transformers}`.", ""]
    lines += _section("Added parts", [f"- {name}: `{json.dumps(dict(sizes))}`" for name, sizes in added.items()])
    lines += _section("Training", [f"- {name}: {value}" for name, value in training.items()])
    hashes = [f"| {name} | `{value}` |" for name, value in data.items()]
    lines += _section("Data", ["| file | SHA-256 |", "| --- | --- |", *hashes] if hashes else ["Not stated."])
    lines += _section("Results", _results(results))
    lines += _section("Departures from the paper", [f"- {note}" for note in recipe.notes])
    return "\n".join(lines).rstrip() + "\n"


def _section(title: str, lines: Sequence[str]) -> list[str]:
    return [f"## {title}", "", *lines, ""] if lines else []


def _results(results: Sequence[Measured]) -> list[str]:
    if not results:
        return ["Nothing was measured yet."]
    rows = [
        "| split | measure | value | 95 % interval | examples | controls |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    for one in results:
        interval = "" if one.interval is None else f"{one.interval[0]:.3f} to {one.interval[1]:.3f}"
        controls = ", ".join(f"{name} {value:.3f}" for name, value in one.controls.items()) or "none"
        rows.append(f"| {one.split} | {one.measure} | {one.value:.3f} | {interval} | {one.n} | {controls} |")
    return rows
