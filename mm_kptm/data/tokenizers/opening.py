"""Opening of tokenizers from files or folders, of any supported kind.

| files | kind |
|---|---|
| ``tokenizer.json`` | what the tokenizers library saves, Hugging Face's models among them |
| ``vocab.txt`` | word pieces of BERT and its kin |
| ``vocab.json`` and ``merges.txt`` | byte-level pairs of RoBERTa and its kin, as Hugging Face has them |
| ``encoder.json`` and ``vocab.bpe``, perhaps ``dict.txt`` | the same, as fairseq has them |
| ``codes...`` and ``vocab...`` | fastBPE's pairs of XLM |
| ``vocab.json`` with XLM's special tokens, and ``merges.txt`` | the same, as Hugging Face has them |
| ``....fcodes`` and ``....fvocab``, perhaps ``dictionary.json`` | LASER's words and pairs |
| ``sentencepiece.bpe.model``, perhaps ``dict.txt`` | XLM-R's SentencePiece with fairseq's ids |
| ``sentencepiece.bpe.model`` and ``vocab.txt`` | ERNIE-M's SentencePiece |
| another ``.model`` | SentencePiece with special tokens of its own (ALBERT, RemBERT, XLNet) |
| ``bpe_simple_vocab_16e6.txt.gz``, or ``merges.txt`` alone | CLIP's pairs; it is known in other files, too |
| ``spiece.model`` or ``tokenizer.json`` beside a configuration of SigLIP | SigLIP's |
| ``spiece.model`` of the same form beside another configuration | T5's, with its sentinels |
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from mm_kptm.data.tokenizers.byte_level import open_byte_level
from mm_kptm.data.tokenizers.clip_bpe import PUBLISHED, ClipBpe, ends_words, is_clip
from mm_kptm.data.tokenizers.fastbpe import FastBpe, is_xlm
from mm_kptm.data.tokenizers.laser import CODES, VOCABULARY, LaserTokenizer
from mm_kptm.data.tokenizers.protocol import Tokenizer
from mm_kptm.data.tokenizers.sentencepiece import ErnieM, SentencePiece
from mm_kptm.data.tokenizers.siglip import GEMMA_CLASS, TOKENIZER_CLASS, SiglipTokenizer
from mm_kptm.data.tokenizers.tokenizer_json import SENTINELS, TokenizerJson
from mm_kptm.data.tokenizers.wordpiece import WordPiece
from mm_kptm.errors import UserError
from mm_kptm.io.records import Json, Record, read_json

_ALONE = ("tokenizer.json", "vocab.txt", PUBLISHED)
OPTIONS = "tokenizer_config.json"  #: transformers' name for how the files are read
T5_CLASS = "T5Tokenizer"  #: transformers' name
CONFIG, OPEN_CLIP = "config.json", "open_clip_config.json"  #: of a system
_MERGES = "merges.txt"  #: of CLIP, where no vocab.json is beside it
_HUGGING_FACE, _FAIRSEQ = ("vocab.json", "merges.txt"), ("encoder.json", "vocab.bpe")
_WORDS = "dict.txt"
_MODEL = "sentencepiece.bpe.model"
_CODES, _VOCAB = "codes", "vocab"  # how the names of XLM's files begin


def holds_tokenizer(folder: Path) -> bool:
    """Whether a folder holds the files of a tokenizer."""
    return bool(_inside(folder))


def tokenizer_files(path: str | Path) -> tuple[Path, ...]:
    """The files of the tokenizer in a folder, or of the one that a file belongs to.

    Raises:
        UserError: there is no such file, no tokenizer in the folder, or a file lacks its companion.
    """
    path = Path(path)
    if path.is_dir():
        if found := _inside(path):
            return found
        raise UserError(
            f"{path} holds no tokenizer; one of {', '.join(_ALONE)}, {' with '.join(_HUGGING_FACE)}, "
            f"{' with '.join(_FAIRSEQ)}, or codes with vocab was looked for"
        )
    if not path.is_file():
        raise UserError(
            f"a vocabulary was looked for in {path}, but there is no such file; take that of the encoder's release, or "
            "learn one with `mm-kptm tokenizer train` and name its folder"
        )
    if path.name == _MODEL:
        return _model(path)
    if path.suffix in (CODES, VOCABULARY):
        both = path.with_suffix(CODES), path.with_suffix(VOCABULARY)
        for file in both:
            if not file.is_file():
                raise UserError(
                    f"{path} is one of two files of LASER's tokenizer, but there is no {file.name} beside it"
                )
        return both
    if path.name == _MERGES and not (path.parent / _HUGGING_FACE[0]).is_file() and ends_words(path):
        return (path,)
    for pair in (_HUGGING_FACE, _FAIRSEQ):
        if path.name in pair:
            if found := _pair(path.parent, pair):
                return found
            missing = next(name for name in pair if name != path.name)
            raise UserError(f"{path} is one of two files of byte-level pairs, but there is no {missing} beside it")
    return (path,)


def open_tokenizer(
    path: str | Path,
    *,
    lowercase: bool | None = None,
    ideographs: bool = True,
    siglip: bool | None = None,
    segment_words: bool | None = None,
) -> Tokenizer:
    """The tokenizer in a file or a folder.

    Args:
        path: a vocabulary or tokenizer file, or a folder that holds one.
        lowercase: whether word pieces and fastBPE's pairs are of an uncased model; when None, they are if none of
            them has a capital. The other kinds say it themselves.
        ideographs: whether word pieces are cut at every ideograph.
        siglip: whether a ``.model`` or ``tokenizer.json`` is SigLIP's; when None, as a configuration beside it says. A
            model of SentencePiece that may be T5's or SigLIP's is refused where none says it.
        segment_words: whether XLM's pairs read running text, which is segmented into words first; when None,
            transformers' files are of running text and XLM's own are not. The other kinds segment by themselves.

    Raises:
        UserError: there is none, its files are malformed, it lacks special tokens, or words cannot be segmented.
    """
    files = tokenizer_files(path)
    first = files[0]
    tokenizer = _opened(files, lowercase=lowercase, ideographs=ideographs, siglip=siglip, segment_words=segment_words)
    if segment_words and not isinstance(tokenizer, FastBpe):
        raise UserError(
            f"words were to be segmented before the pieces of {first}, but it reads running text by itself; "
            "segment_words is for XLM's codes"
        )
    return tokenizer


def _opened(
    files: Sequence[Path],
    *,
    lowercase: bool | None,
    ideographs: bool,
    siglip: bool | None,
    segment_words: bool | None,
) -> Tokenizer:
    first = files[0]
    if first.suffix in (".json", ".model") and len(files) == 1 and (siglip_class(first) if siglip is None else siglip):
        return SiglipTokenizer.open(first)
    if first.suffix == ".gz" or tuple(files) == (first.parent / _MERGES,):
        return ClipBpe.open(first)
    if first.suffix == ".json":
        if len(files) == 1:
            return ClipBpe.open(first) if is_clip(_pieces(first)) else TokenizerJson.open(first)
        numbers = read_json(first)
        if is_clip(numbers):
            return ClipBpe.open(files[1])
        if not is_xlm(numbers):
            return open_byte_level(*files)
        opened: Callable[..., WordPiece | FastBpe] = partial(
            FastBpe.open_json, *files[:2], segment_words=segment_words is not False
        )
        return _cased(opened, _xlm_lowercase(first) if lowercase is None else lowercase)
    if first.suffix == ".model":
        return _open_model(files, siglip)
    if first.suffix == CODES:
        return LaserTokenizer.open(*files)
    if len(files) == 1:
        return _cased(partial(WordPiece.open, first, ideographs=ideographs), lowercase)
    return _cased(partial(FastBpe.open, *files, segment_words=bool(segment_words)), lowercase)


def _cased(opened: Callable[..., WordPiece | FastBpe], lowercase: bool | None) -> WordPiece | FastBpe:
    """The tokenizer, of an uncased model if no piece has a capital and nothing else is said."""
    if lowercase is None:
        pieces = opened(lowercase=False).vocabulary
        lowercase = all(piece == piece.lower() for piece in pieces if not piece.startswith(("[", "<")))
    return opened(lowercase=lowercase)


def _xlm_lowercase(file: Path) -> bool | None:
    """What a configuration of transformers beside a file says of case and accents in XLM; None: nothing."""
    lowercase = _beside(file, OPTIONS).get("do_lowercase_and_remove_accent")
    return lowercase if isinstance(lowercase, bool) else None


def siglip_class(file: Path) -> str | None:
    """The name of SigLIP's tokenizer, where a configuration beside a file is SigLIP's; None: it is of another system.

    That of the tokenizer counts first, then those of the system, of transformers, of this package or of open_clip.
    """
    name, kind = _named(file)
    if name in (TOKENIZER_CLASS, GEMMA_CLASS):
        return name
    return (GEMMA_CLASS if file.suffix == ".json" else TOKENIZER_CLASS) if kind.startswith("siglip") else None


def sentinels_beside(file: Path) -> int | None:
    """How many sentinels T5's vocabulary has, by configurations beside a file; None: they are of no system."""
    number = _beside(file, OPTIONS).get("extra_ids")
    if isinstance(number, int) and number >= 0:
        return number
    return len(SENTINELS) if any(_named(file)) else None


def _named(file: Path) -> tuple[str, str]:
    """The classes of tokenizer and of system that configurations beside a file name; empty where they name none."""
    name = str(_beside(file, OPTIONS).get("tokenizer_class") or "").removesuffix("Fast")
    config = _beside(file, CONFIG)
    kind = str(config.get("model_type") or config.get("recipe") or "")
    model = _beside(file, OPEN_CLIP).get("model_cfg")
    text = model.get("text_cfg") if isinstance(model, dict) else None
    if isinstance(text, dict) and "SigLIP" in str(text.get("hf_tokenizer_name")):
        kind = "siglip"
    return name, kind


def _beside(file: Path, name: str) -> dict[str, Json]:
    """A configuration beside a file; empty where there is none."""
    beside = file.with_name(name)
    said = read_json(beside) if beside.is_file() else None
    return said if isinstance(said, dict) else {}


def _model(path: Path) -> tuple[Path, ...]:
    """XLM-R's model with the file beside it that says the ids, if there is one."""
    beside = (path.with_name(name) for name in (_WORDS, "vocab.txt"))
    return (path, *[file for file in beside if file.is_file()][:1])


def _open_model(files: Sequence[Path], siglip: bool | None) -> Tokenizer:
    if files[0].name != _MODEL:
        said = sentinels_beside(files[0])
        return SentencePiece.plain(files[0], sentinels=len(SENTINELS) if said is None and siglip is False else said)
    if len(files) > 1 and files[1].name != _WORDS:
        return ErnieM.open(*files)
    return SentencePiece.fairseq(*files)


def _inside(folder: Path) -> tuple[Path, ...]:
    if (folder / _MODEL).is_file() and not (folder / _ALONE[0]).is_file():
        return _model(folder / _MODEL)
    for name in _ALONE:
        if (folder / name).is_file():
            return (folder / name,)
    for pair in (_HUGGING_FACE, _FAIRSEQ):
        if found := _pair(folder, pair):
            return found
    if len(models := sorted(folder.glob("*.model"))) == 1:
        return (models[0],)
    if (folder / _MERGES).is_file() and ends_words(folder / _MERGES):
        return (folder / _MERGES,)
    if len(codes := sorted(folder.glob(f"*{CODES}"))) == 1 and codes[0].with_suffix(VOCABULARY).is_file():
        return (codes[0], codes[0].with_suffix(VOCABULARY))
    codes, vocab = (sorted(folder.glob(f"{beginning}*")) for beginning in (_CODES, _VOCAB))
    return (*codes, *vocab) if len(codes) == len(vocab) == 1 else ()


def _pieces(file: Path) -> object:
    """The pieces of a ``tokenizer.json``; None where it has none or is broken, which its reader will say."""
    try:
        return Record.of(Record.of(read_json(file), str(file)).values.get("model"), str(file)).values.get("vocab")
    except UserError:
        return None


def _pair(folder: Path, names: Sequence[str]) -> tuple[Path, ...]:
    files = tuple(folder / name for name in names)
    if not all(file.is_file() for file in files):
        return ()
    words = folder / _WORDS
    return (*files, words) if names == _FAIRSEQ and words.is_file() else files
