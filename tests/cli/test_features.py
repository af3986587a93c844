"""The verbs of region features, from pictures to a verdict, as a user types them."""

import json

import numpy as np
import pytest
from PIL import Image

from mm_kptm.cli import main


@pytest.fixture
def pictures(tmp_path):
    folder = tmp_path / "pictures"
    folder.mkdir()
    rng = np.random.default_rng(0)
    for number in range(3):
        Image.fromarray(rng.integers(0, 256, (30, 40, 3), dtype=np.uint8)).save(folder / f"{number}.png")
    (folder / "broken.png").write_bytes(b"x")
    return folder


def run(capsys, *arguments):
    code = main(["features", *map(str, arguments)])
    told = capsys.readouterr()
    return code, told.out, told.err


@pytest.fixture
def store(tmp_path, pictures, capsys):
    code, _, _ = run(capsys, "extract", pictures, "--to", tmp_path / "s", "--extractor", "patches", "--size", 32)
    assert code == 0
    return tmp_path / "s"


def test_extract_counts_and_names_what_it_skips(tmp_path, pictures, capsys):
    code, out, err = run(
        capsys, "extract", pictures, "--to", tmp_path / "s", "--extractor", "grid", "--model", "resnet18", "--size", 64,
        "--weights", "none", "--workers", 1,
    )  # fmt: skip
    assert code == 0
    assert f"{tmp_path / 's'}: regions of 3 pictures\n1 pictures skipped:\n  broken.png: " in out
    assert "extract 4/4" in err


def test_extract_speaks_json(tmp_path, pictures, capsys):
    code, out, _ = run(capsys, "extract", pictures, "--to", tmp_path / "s", "--extractor", "patches", "--json")
    told = json.loads(out)
    assert code == 0
    assert (told["images"], told["resumed"], told["skipped"][0][0]) == (3, 0, "broken.png")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "features without weights are made by chance; give a local file with --weights, or say --weights none"),
        (["--extractor", "patches", "--boxes", "many"], "--boxes is a number such as 36, or limits such as 10-100"),
        (["--extractor", "patches", "--batch", "0"], "--batch must be at least 1, but it is 0"),
        (["--extractor", "patches", "--workers", "-1"], "--workers must be at least 0, but it is -1"),
        (["--weights", "nowhere.pth"], "there is no file nowhere.pth; give the path of a .safetensors"),
    ],
)
def test_a_mistake_ends_in_a_sentence(tmp_path, pictures, capsys, arguments, message):
    code, _, err = run(capsys, "extract", pictures, "--to", tmp_path / "s", *arguments)
    assert code == 2
    assert message in err


def test_convert_and_back(tmp_path, store, capsys):
    code, out, _ = run(capsys, "convert", store, tmp_path / "t.tsv", "--to", "oscar-tsv")
    assert code == 0
    assert out == f"{tmp_path / 't.tsv'}: 3 images, 3 regions, native to oscar-tsv\n"
    code, out, _ = run(capsys, "convert", tmp_path / "t.tsv", tmp_path / "u")
    assert code == 0
    assert out.endswith("numbers were rounded to float16\n")
    assert (tmp_path / "u" / "features.npy").read_bytes() == (store / "features.npy").read_bytes()
    code, out, _ = run(capsys, "convert", store, tmp_path / "v", "--to", "uniter-npz", "--json")
    assert json.loads(out)["dropped"] == ["size"]
    code, _, err = run(capsys, "convert", store, tmp_path / "v", "--to", "uniter")
    assert (code, "'uniter' is no format of region features; did you mean uniter-npz?" in err) == (2, True)
    code, _, err = run(capsys, "convert", store, tmp_path / "w", "--to", "lxmert-tsv")
    assert (code, "LXMERT's TSV needs object_ids of every image, but image '0.png' comes without" in err) == (2, True)


def test_doctor_says_what_is_wrong_by_its_exit_code(tmp_path, store, pictures, capsys):
    code, out, _ = run(capsys, "doctor", store, "--images", pictures)
    assert (code, out) == (0, f"{store}: 3 images, 3 regions, native\nnothing is wrong that can be seen from here\n")
    boxes = np.load(store / "boxes.npy")
    np.save(store / "boxes.npy", boxes * 32)
    code, out, _ = run(capsys, "doctor", store)
    assert code == 1
    assert (
        "boxes-unnormalised: 3 of 3 images have boxes in pixels where fractions of the image belong (0.png, 1.png"
        in out
    )
    code, out, _ = run(capsys, "doctor", store, "--dim", 5, "--json")
    assert (code, [fault["name"] for fault in json.loads(out)["faults"]]) == (1, ["wrong-dim", "boxes-unnormalised"])


def test_doctor_extracts_again(store, pictures, capsys):
    assert run(capsys, "doctor", store, "--images", pictures, "--weights", "none")[0] == 0
    features = np.load(store / "features.npy").reshape(-1, 3, 32 * 32)
    np.save(store / "features.npy", features[:, ::-1].reshape(len(features), -1))
    code, out, _ = run(capsys, "doctor", store, "--images", pictures, "--weights", "none")
    assert code == 1
    assert "bgr-for-rgb: features equal those of the pictures with red and blue exchanged (cosine 1.0000" in out
    code, _, err = run(capsys, "doctor", store, "--weights", "none")
    assert (code, "extracting again needs the pictures (--images) and a contract" in err) == (2, True)


def test_doctor_says_where_no_picture_is_that_of_an_image(tmp_path, store, pictures, capsys):
    (tmp_path / "others").mkdir()
    Image.new("RGB", (8, 8)).save(tmp_path / "others" / "x.png")
    code, _, err = run(capsys, "doctor", store, "--images", tmp_path / "others")
    assert (code, "has a picture of none of these 3 images" in err) == (2, True)


def test_doctor_extracts_again_for_a_published_file_by_a_contract(tmp_path, store, pictures, capsys):
    """A published file has no contract beside it: --contract says how the features should be."""
    features = np.load(store / "features.npy").reshape(-1, 3, 32 * 32)
    np.save(store / "features.npy", features[:, ::-1].reshape(len(features), -1))
    assert run(capsys, "convert", store, tmp_path / "oscar", "--to", "oscar-tsv")[0] == 0
    (tmp_path / "oscar" / "contract.json").unlink()
    asked = ("doctor", tmp_path / "oscar", "--images", pictures, "--weights", "none")
    code, _, err = run(capsys, *asked)
    assert (code, "a contract, beside the features or --contract" in err) == (2, True)
    code, out, _ = run(capsys, *asked, "--contract", store / "contract.json")
    assert code == 1
    assert "bgr-for-rgb: features equal those of the pictures with red and blue exchanged" in out
    (tmp_path / "void.tsv").write_bytes(b"")
    code, _, err = run(capsys, "doctor", tmp_path / "void.tsv")
    assert (code, f"{tmp_path / 'void.tsv'} is an empty file" in err) == (2, True)


def test_doctor_holds_data_against_another_contract(tmp_path, store, capsys):
    told = json.loads((store / "contract.json").read_text()) | {"resize": "600"}
    (tmp_path / "c.json").write_text(json.dumps(told))
    code, out, _ = run(capsys, "doctor", store, "--contract", tmp_path / "c.json")
    assert code == 1
    assert "contract: the data break the contract: resize is 32 x 32, bicubic, shape not kept here and 600 there" in out


def test_doctor_takes_a_second_extraction(store, capsys):
    code, out, _ = run(capsys, "doctor", store, "--against", store)
    assert (code, "nothing is wrong" in out) == (0, True)


def test_diff_compares(tmp_path, store, capsys):
    code, out, _ = run(capsys, "diff", store, store)
    assert code == 0
    assert "matched at IoU 0.5   3 (100.0%)" in out
    code, out, _ = run(capsys, "diff", store, store, "--json")
    assert (json.loads(out)["images"], json.loads(out)["cosine"]) == (3, pytest.approx(1))


def test_every_format_is_listed(capsys):
    code, out, _ = run(capsys, "formats", "--json")
    assert code == 0
    assert {"native", "lxmert-tsv", "uniter-lmdb"} <= {each["format"] for each in json.loads(out)}
    assert "vlbert-json" in run(capsys, "formats")[1]
