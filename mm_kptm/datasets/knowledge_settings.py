"""Text-file settings with optional injected facts, and how such texts are encoded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from mm_kptm.data.tokenizers.opening import tokenizer_files
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.datasets.code_switched import CodeSwitching
from mm_kptm.datasets.protocol import DataRequest
from mm_kptm.datasets.settings import SplitFiles, TextSettings, fingerprints
from mm_kptm.errors import UserError
from mm_kptm.knowledge.graph.formats import open_graph
from mm_kptm.knowledge.graph.triples import Wording, relation_and_tail, relation_blank_tail, tail_only
from mm_kptm.knowledge.injection.characters import Characters
from mm_kptm.knowledge.injection.fact_injector import FactInjector
from mm_kptm.knowledge.injection.graph_names import tells_case
from mm_kptm.knowledge.injection.sentence_tree import MOST_FACTS
from mm_kptm.knowledge.kinds.protocol import BRANCHES
from mm_kptm.preprocessing.text import TextEncoding
from mm_kptm.random_streams import RandomStream
from mm_kptm.systems.recipe import Recipe
from mm_kptm.systems.text_format import BERT_FORMAT, UER_FORMAT, TextFormat
from mm_kptm.tasks.knowledge_use import COUNTERFACTUAL_SUFFIXES

LAYOUTS = {"bert": BERT_FORMAT, "uer": UER_FORMAT}  #: the formats that `data.layout` can ask for
WORDINGS: dict[str, Wording] = {"joined": relation_and_tail, "spaced": relation_blank_tail, "object": tail_only}


@dataclass(frozen=True, kw_only=True)
class KnowledgeTextSettings(TextSettings):
    """Settings of text datasets with injected facts: the graph, the facts and the text format."""

    graph: Path | None = None  #: a file of triples, injected with ``knowledge.kind: sentence-tree``
    facts_per_name: int = 2  #: facts attached to each name, the first ones of the file
    wording: Literal["joined", "spaced", "object"] | None = None
    """Verbalisation of a fact: relation and object without or with a space between, or the object alone; null: the
    one that fits the task."""
    seed: int = 0  #: seed of swapped and random facts
    layout: Literal["bert", "uer"] | None = None
    """Word pieces as in the encoder's tokenizer, or UER's characters, which K-BERT reads; null: the format of the
    encoder's family."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if not 1 <= self.facts_per_name <= MOST_FACTS:
            raise UserError(f"data.facts_per_name is {self.facts_per_name} but must be between 1 and {MOST_FACTS}")

    def text_format(self, recipe: Recipe) -> TextFormat:
        """Text format of the encoder, or the one that `data.layout` asks for."""
        return recipe.text if self.layout is None else LAYOUTS[self.layout]

    def fact_injector(self, request: DataRequest, wording: str, *, what: str, oracle: bool) -> FactInjector | None:
        """Injector of the requested facts; None where no facts are injected.

        Args:
            request: the form in which facts are injected, and which facts.
            wording: default verbalisation where the settings leave it open.
            what: name of the dataset, for messages.
            oracle: whether the examples name the fact that they need.

        Raises:
            UserError: there is no graph, it cannot be read, or oracle facts are requested where none is known.
        """
        if request.knowledge is None or request.form != BRANCHES:
            return None
        if self.graph is None:
            raise UserError(
                f"knowledge.kind is {request.knowledge.name}, but data.graph is null; name a file of triples, or "
                "choose none"
            )
        if request.facts == "oracle" and not oracle:
            raise UserError(
                f"knowledge.facts is oracle, but no example of {what} says for this task which fact it needs; choose "
                "none, true, random or swapped"
            )
        return FactInjector(
            open_graph(self.graph),
            WORDINGS[self.wording or wording],
            self.facts_per_name,
            RandomStream(self.seed),
            cased=tells_case(self.tokenizer_for(request.recipe)),
        )

    def text_encoding(
        self, request: DataRequest, *, object_alone: bool = False, words: bool = False, oracle: bool = False
    ) -> TextEncoding:
        """Text encoding: tokenizer, template and fact injector.

        Args:
            request: the encoder, the form in which facts are injected, and which facts.
            object_alone: whether a fact is verbalised by its object alone, where the settings leave it open.
            words: whether the task has one label per word.
            oracle: whether the examples name the fact that they need.
        """
        form = self.text_format(request.recipe)
        wording = "object" if object_alone else form.fact_wording
        injector = self.fact_injector(request, wording, what=self.name, oracle=oracle)
        return TextEncoding(
            self.tokenizer_for(request.recipe),
            self.max_length,
            self.languages or form.languages,
            injector=injector,
            facts=request.facts,
            visible_matrix=request.visible_matrix,
            template=form.word_template if words else form.template,
        )

    def tokenizer_for(self, recipe: Recipe) -> Tokenizer:
        """Tokenizer that fits the encoder's text format."""
        if self.text_format(recipe).tokenizer == "characters":
            return Characters.open(tokenizer_files(self.vocabulary)[0])
        return self.tokenizer()


@dataclass(frozen=True, kw_only=True)
class KnowledgeFileSettings(KnowledgeTextSettings, SplitFiles):
    """One file per split, with texts into which facts of a graph can be injected."""

    code_switching: CodeSwitching | None = None
    """Words of training texts replaced by translations, such as {dictionaries: {de: en-de.txt}, token_rate: 0.4}."""

    @property
    def fingerprints(self) -> dict[str, str]:
        """SHA-256 of every input file by its role, graph and dictionaries among them."""
        more = {} if self.graph is None else {"graph": self.graph}
        if self.code_switching is not None:
            more |= {f"code_switching.{name}": path for name, path in self.code_switching.dictionaries.items()}
        return {**super().fingerprints, **fingerprints(more)}


def counterfactual_splits(files: dict[str, Path], request: DataRequest, *, oracle: bool) -> dict[str, tuple[str, str]]:
    """File and facts of every split: ``test-swapped`` is the test split with swapped facts; dev has such splits too.

    Args:
        files: path of every split.
        request: facts of the splits without such a suffix.
        oracle: whether the examples name the fact that they need.
    """
    plain = {split: (split, request.facts) for split in files}
    if request.form != BRANCHES:
        return plain
    ends = {end: facts for end, facts in COUNTERFACTUAL_SUFFIXES.items() if oracle or facts != "oracle"}
    return plain | {
        f"{side}{end}": (side, facts) for side in ("dev", "test") if side in plain for end, facts in ends.items()
    }
