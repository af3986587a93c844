"""CoLAKE against its released preprocessing, model, heads and objective."""

import json
import random
import re
from typing import Any

from mm_kptm.knowledge.graph import KnowledgeGraph, Triple
from mm_kptm.knowledge.linked_documents import GraphMaker
from mm_kptm.knowledge.word_graph import graph_of
from tests.golden.case import Answer, Case


def graph(case: Case) -> tuple[dict[str, Answer], dict[str, Any]]:
    """What the script was called with stands in the case's description; so does how it spelled and cut a text."""
    told, description = case.json("input.json"), (case.folder / "README.md").read_text(encoding="utf-8")
    numbers = {word: 4 + number for number, word in enumerate(told["vocab_words"])}

    def called_with(name: str) -> int:
        found = re.search(rf"{name}\D{{1,3}}(\d+)", description)
        assert found is not None, f"{case.folder} does not say its {name}"
        return int(found[1])

    make = GraphMaker(
        KnowledgeGraph(Triple(*triple) for triple in told["triples"]).about,
        told["entities"],
        spelling=lambda text: [numbers.get(word, 3) for word in text.split()],
        sentences=lambda text: [f"{part} ." for part in text.split(" . ")],
        min_length=called_with("min_seq_len"),
        max_facts=called_with("max_neighbors"),
    )
    rng = random.Random(called_with("seeded with"))
    made = [one.record() for document in told["documents"] for one in make(document, rng)]
    lines = (case.folder / "graphs.jsonl").read_text(encoding="utf-8").splitlines()
    answers = {"number": Answer(len(made))}
    truths: dict[str, Any] = {"number": len(lines)}
    for number, (ours, line) in enumerate(zip(made, lines, strict=True)):
        theirs = json.loads(line)
        assert graph_of(theirs, f"line {number + 1}").record() == theirs
        answers[f"{number} fields"], truths[f"{number} fields"] = Answer(list(ours)), list(theirs)
        for name, value in theirs.items():
            answers[f"{number} {name}"], truths[f"{number} {name}"] = Answer(ours[name]), value
    return answers, truths


CASES = {"graph": graph}
