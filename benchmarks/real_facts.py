"""How far injected facts reach in a frozen encoder: ``python -m benchmarks.real_facts``.

It reads ``experiments/real-weights/5-tree-invented.yaml`` and the files that this names, all-MiniLM-L6-v2 among them,
which stays as it is. Printed are how much the state of the blank changes where the injected fact is another one, and
what ridge regression reads out of frozen states: learnt from invented countries, asked of others of these, and of real
countries with true and with swapped facts. Three forms are compared, by the state of the blank and, of the first two,
by the mean of all states: a branch of the name as in K-BERT, which the name alone sees; the same branch without the
visible matrix, which all see; and the same fact as a sentence before the text.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from benchmarks.real_weights import TEMPLATES
from mm_kptm.batch import Inputs, Tokens
from mm_kptm.data.sampler import seeded
from mm_kptm.experiment.build import build
from mm_kptm.experiment.locations import read_experiment
from mm_kptm.systems.system import System
from mm_kptm.tasks.example import Example

RELATION, COUNT, PENALTY = "official language", 1200, 100.0
MASK = 103  #: [MASK] of the uncased vocabulary
FILE = Path(__file__).parents[1] / "experiments" / "real-weights" / "5-tree-invented.yaml"
SPLITS = ("train", "test", "test-swapped")
FORMS = (
    "branch, state of the blank",
    "branch, mean of all states",
    "branch without visible matrix, state of the blank",
    "branch without visible matrix, mean of all states",
    "sentence, state of the blank",
)


@torch.no_grad()
def states(system: System, inputs: Sequence[Inputs]) -> tuple[Tensor, Tensor]:
    """The states of the blanks and the means of all states, [N, D] each."""
    blanks, means = [], []
    for one in inputs:
        text = one.required("text", Tokens)
        rows = system(one).text
        for first, last in itertools.pairwise(text.layout.offsets):
            place = int((text.ids[first:last] == MASK).nonzero()[0])
            blanks.append(rows[first + place])
            means.append(rows[first:last].mean(0))
    return torch.stack(blanks), torch.stack(means)


def opened(inputs: Inputs) -> Inputs:
    """The same trees without their visible matrix."""
    return inputs.with_streams(text=replace(inputs.required("text", Tokens), attention_mask=None))


def blanked(system: System, texts: Sequence[str]) -> Inputs:
    """Texts whose ``[MASK]`` is the token of that name."""
    blank = int(system.tokenizer(["blank"]).required("text", Tokens).ids[1])
    text = system.tokenizer([one.replace("[MASK]", "blank") for one in texts]).required("text", Tokens)
    return Inputs(text=replace(text, ids=text.ids.masked_fill(text.ids == blank, MASK)))


def right(known: Tensor, answers: Sequence[str], asked: Tensor, wanted: Sequence[str]) -> float:
    """Accuracy in percent of ridge regression from states to answers."""
    names = sorted(set(answers))
    mean, std = known.mean(0), known.std(0) + 1e-6
    inputs = (known - mean) / std
    targets = torch.eye(len(names))[[names.index(one) for one in answers]] - 1 / len(names)
    weights = torch.linalg.solve(inputs.T @ inputs + PENALTY * torch.eye(inputs.shape[1]), inputs.T @ targets)
    found = ((asked - mean) / std @ weights).argmax(1).tolist()
    return 100 * float(np.mean([names[place] == one for place, one in zip(found, wanted, strict=True)]))


def show(form: str, of: dict[str, Tensor], about: dict[str, list[Example]]) -> None:
    """Print what is read out of the states of one form."""
    answers = {split: [one.target for one in about[split]] for split in SPLITS}
    true = [one.factual_answer or one.target for one in about["test-swapped"]]
    held = len(of["train"]) // 5
    learnt, kept = of["train"][held:], of["train"][:held]
    said = {
        "invented countries, not learnt": right(learnt, answers["train"][held:], kept, answers["train"][:held]),
        "real countries, true facts": right(of["train"], answers["train"], of["test"], answers["test"]),
        "swapped facts": right(of["train"], answers["train"], of["test-swapped"], answers["test-swapped"]),
        "swapped facts, by the true ones": right(of["train"], answers["train"], of["test-swapped"], true),
    }
    print(f"{form}: " + ", ".join(f"{name} {value:.1f} %" for name, value in said.items()), flush=True)


def main() -> None:
    """Print the changes and the accuracies."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--experiment", type=Path, default=FILE, help="an experiment with a tree and a frozen encoder")
    options = parser.parse_args()
    torch.manual_seed(0)
    built = build(read_experiment(options.experiment))
    system = built.system.eval()
    about: dict[str, list[Example]] = {}
    forms = {form: dict[str, Tensor]() for form in FORMS}
    for split in SPLITS:
        source = built.source(split)
        places = [at for at, one in enumerate(source.about) if one.type == RELATION][:COUNT]
        about[split] = [source.about[at] for at in places]
        batches = [source.batch(places[at : at + 16], seeded(0, 0)).inputs for at in range(0, len(places), 16)]
        found = (*states(system, batches), *states(system, [opened(one) for one in batches]))
        asked = itertools.cycle(TEMPLATES[RELATION])
        said = [
            f"The {RELATION} of {one.group} is {one.target}. {template.format(one.group)}"
            for one, template in zip(about[split], asked, strict=False)
        ]
        sentences = states(system, [blanked(system, said[at : at + 16]) for at in range(0, len(said), 16)])[0]
        for form, rows in zip(FORMS, (*found, sentences), strict=True):
            forms[form][split] = rows
    answers = len({one.target for one in about["train"]})
    usual = np.unique([one.target for one in about["test"]], return_counts=True)[1].max() / len(about["test"])
    print(f"chance {100 / answers:.1f} %, the usual answer about real countries {100 * usual:.1f} %")
    for form, of in forms.items():
        pairs = torch.cosine_similarity(of["test"], of["test-swapped"]).mean()
        apart = torch.cosine_similarity(of["test"], of["test"].roll(7, 0)).mean()
        print(f"{form}: cosine with true and with swapped facts {pairs:.4f}, of two texts {apart:.4f}")
        show(form, of, about)


if __name__ == "__main__":
    main()
