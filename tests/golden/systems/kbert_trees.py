"""K-BERT's sentence trees against its released code: tokens, soft positions, segments, labels and visible matrices.

The released code takes the facts of a word in the order of a set; a case records the order that came out, and its trees
are compared in that order. Segmentation is not compared: the cases record the words, or they are read off the matrix.
"""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from mm_kptm.batch import pad
from mm_kptm.knowledge.graph.graph import KnowledgeGraph
from mm_kptm.knowledge.graph.triples import relation_and_tail, tail_only
from mm_kptm.knowledge.injection.characters import Characters
from mm_kptm.knowledge.injection.sentence_tree import Spelling, TreeBuilder, Trees, cut, spelling_of
from mm_kptm.knowledge.linking.segmenter import TAGS
from tests.golden.case import Answer, Case

LookUp = Mapping[str, Sequence[str]]
GIVEN = {"id", "predicate", "max_length", "max_entities", "text", "words", "label"}  # not made by the tree


def pipeline(case: Case) -> tuple[dict[str, Answer], dict[str, Any]]:
    look_up: dict[str, LookUp] = case.json("lookup.json")
    characters = Characters.open(case.folder / "vocab.txt")
    answers: dict[str, Answer] = {}
    truths: dict[str, Any] = dict(case.inputs)

    def compare(name: str, told: Mapping[str, Any], ours: Mapping[str, Any], trees: Trees, matrix: str) -> None:
        answers.update({f"{name}.{key}": Answer(value) for key, value in ours.items()})
        truths.update({f"{name}.{key}": value for key, value in told.items() if key not in GIVEN})
        answers[matrix] = Answer(visible(trees, len(case.inputs[matrix])))

    graph = KnowledgeGraph.open(*sorted(case.folder.glob("*.spo")))
    for name, wording in (("predicate", relation_and_tail), ("no_predicate", tail_only)):
        facts = graph.facts(wording)
        answers[f"lookup.{name}"] = Answer({head: sorted(facts(head)) for head in graph.heads})
        truths[f"lookup.{name}"] = {head: sorted(known) for head, known in look_up[name].items()}

    for told in case.json("pipeline.json"):
        known = look_up["predicate" if told["predicate"] else "no_predicate"]
        length, most = told["max_length"], told["max_entities"]
        trees = build_trees(told["words"], spelling_of(characters), known, length, most)
        written = Written()
        tokens = written.read(build_trees(told["words"], written, known, length, most))
        ours = {
            "tokens": tokens + ["[PAD]"] * (length - len(tokens)),
            "token_ids": column(trees.ids, trees, length, characters.specials.pad),
            "positions": column(trees.positions, trees, length, length - 1),
            "segment": column(trees.branches > 0, trees, length, 0),
        }
        compare(f"pipeline.{told['id']}", told, ours, trees, f"visible_matrix.{told['id']}")

    for file, kind in (("classification", "cls"), ("pairs", "pair")):
        for number, told in enumerate(case.json(f"{file}.json")):
            seen = case.inputs[f"{kind}_vm.{number}"].bool()
            # the graph knows nothing of [CLS], which so sees nothing but the trunk
            words = words_of(told["token_ids"], seen, seen[0], characters)
            trees = build_trees(words, spelling_of(characters), look_up["predicate"], len(seen))
            tokens = trees.tokens(separator=characters.specials.stop, first_segment=1)
            ours = {
                "token_ids": column(tokens.ids, trees, len(seen), characters.specials.pad),
                "positions": column(tokens.positions, trees, len(seen), len(seen) - 1),
                "mask": column(tokens.segments, trees, len(seen), 0),
            }
            compare(f"{kind}.{number}", told, ours, trees, f"{kind}_vm.{number}")

    ner = case.json("ner.json")
    classes = ner["label_map"]
    for number, (told, raw) in enumerate(zip(ner["data"], ner["raw"], strict=True)):
        seen = case.inputs[f"ner_vm.{number}"].bool()
        trunk = seen.diagonal() & (torch.tensor(told["tag"]) == 0)
        words = words_of(told["token_ids"], seen, trunk, characters)
        trees = build_trees(words, spelling_of(characters), look_up["no_predicate"], len(seen))
        tokens = trees.tokens(first_segment=1)
        labels = trees.labels([[classes[label] for label in raw["labels"].split(" ")]], on_facts=classes["[ENT]"])
        ours = {
            "token_ids": column(tokens.ids, trees, len(seen), characters.specials.pad),
            "positions": column(tokens.positions, trees, len(seen), len(seen) - 1),
            "mask": column(tokens.segments, trees, len(seen), 1),  # the released tagger marks padding like text
            "tag": column(trees.branches > 0, trees, len(seen), 0),
            "labels": column(labels, trees, len(seen), classes["[PAD]"]),
        }
        compare(f"ner.{number}", told, ours, trees, f"ner_vm.{number}")
    return answers, truths


def build_trees(words: Sequence[str], spelling: Spelling, known: LookUp, length: int, most: int = 2) -> Trees:
    """The tree of one sentence, facts in the recorded order and cut as released."""
    build = TreeBuilder(spelling, lambda word: known.get(word, ()), max_facts=most, max_length=length, fit=cut)
    return build([words])


def words_of(ids: Sequence[int], seen: Tensor, trunk: Tensor, characters: Characters) -> list[str]:
    """The words of a sentence that is known by its matrix alone: what a fact sees of the trunk is the word it is about.

    Characters without facts are words of their own, which changes nothing.
    """
    on_fact = seen.diagonal() & ~trunk
    words, taken = [], 0
    for place in trunk.nonzero().flatten().tolist():
        if place >= taken:
            about = (seen[place] & on_fact).nonzero().flatten()
            word = (seen[about[0]] & trunk).nonzero().flatten().tolist() if len(about) else [place]
            words.append("".join(characters.vocabulary[ids[k]] for k in word))
            taken = word[-1] + 1
    return words


def column(rows: Tensor, trees: Trees, length: int, padding: int) -> list[int]:
    """One number per token of a single tree, padded as the released code pads it."""
    return pad(rows.long(), trees.layout, value=padding, length=length)[0].tolist()


def visible(trees: Trees, length: int) -> Tensor:
    """The visible matrix of a single tree, padding hidden."""
    rows = torch.arange(trees.layout.total)
    matrix = torch.zeros(length, length, dtype=torch.uint8)
    mask = trees.tokens().attention_mask
    seen = torch.ones(len(rows), len(rows)) if mask is None else mask.mask_mod(rows[:, None], rows[None, :])
    matrix[: len(rows), : len(rows)] = seen
    return matrix


class Written:
    """A spelling that keeps every token as it was written, whether a vocabulary knows it or not."""

    def __init__(self) -> None:
        self.tokens: list[str] = []

    def __call__(self, word: str) -> Sequence[int]:
        start = len(self.tokens)
        self.tokens.extend([word] if word in TAGS else word)
        return range(start, len(self.tokens))

    def read(self, trees: Trees) -> list[str]:
        return [self.tokens[number] for number in trees.ids.tolist()]
