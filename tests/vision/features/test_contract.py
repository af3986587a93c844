"""A contract comes back as it was written, tells what differs, and refuses what it does not know."""

from dataclasses import replace

import pytest

from mm_kptm.errors import UserError
from mm_kptm.vision.features.contract import (
    FeatureContract,
    contract_path,
    differences,
    inconsistencies,
    read_contract,
    require_same,
    weights_hash,
    write_contract,
)

CONTRACT = FeatureContract(
    extractor="bottom-up",
    weights="sha256:00",
    colour_order="bgr",
    means=(102.9801, 115.9465, 122.7717),
    value_range=255,
    min_boxes=36,
    max_boxes=36,
    dim=2048,
    settings={"kind": "bottom-up"},
)


def test_a_contract_comes_back(tmp_path):
    write_contract(CONTRACT, tmp_path / "c.json")
    assert read_contract(tmp_path / "c.json") == CONTRACT


def test_what_differs_is_told_and_what_is_unknown_is_not():
    other = replace(CONTRACT, dim=1024, weights="unknown", min_boxes=None, colour_order="rgb", settings={})
    assert differences(CONTRACT, other) == ["colour_order is bgr here and rgb there", "dim is 2048 here and 1024 there"]
    assert differences(CONTRACT, CONTRACT) == []


def test_a_run_on_other_features_is_refused():
    require_same(CONTRACT, replace(CONTRACT, resize="whatever"), "store")
    with pytest.raises(UserError, match="store breaks the feature contract of the weights: dim is 2048 here and 1024"):
        require_same(CONTRACT, replace(CONTRACT, dim=1024), "store")


def test_means_betray_the_order_of_colours():
    assert inconsistencies(CONTRACT) == []
    (found,) = inconsistencies(replace(CONTRACT, colour_order="rgb"))
    assert found == "colours are said to be rgb, but the means (102.98, 115.947, 122.772) are in the order bgr"
    assert inconsistencies(replace(CONTRACT, means=(0.5, 0.5, 0.5), colour_order="rgb")) == []
    assert inconsistencies(replace(CONTRACT, min_boxes=100)) == ["at least 100 boxes and at most 36 are asked for"]


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ("", "is empty; a JSON file was expected"),
        ("[]", "must hold an object with keys of extractor"),
        ('{"dims": 3}', "must hold an object with keys of .*; it has dims"),
        ('{"dim": "3"}', 'dim cannot be "3"'),
        ('{"dim": -3}', "dim cannot be -3"),
        ('{"means": 3}', "means cannot be 3"),
        ('{"colour_order": "brg"}', 'colour_order cannot be "brg"'),
        ('{"settings": []}', r"settings cannot be \[\]"),
    ],
)
def test_a_contract_that_is_none_is_named(tmp_path, told, message):
    (tmp_path / "c.json").write_text(told)
    with pytest.raises(UserError, match=message):
        read_contract(tmp_path / "c.json")


def test_where_a_contract_lies(tmp_path):
    (tmp_path / "x.tsv").write_text("")
    assert contract_path(tmp_path) == tmp_path / "contract.json"
    assert contract_path(tmp_path / "x.tsv") == tmp_path / "x.tsv.contract.json"
    with pytest.raises(UserError, match=r"was looked for at .*, which is not there"):
        read_contract(contract_path(tmp_path))


def test_the_hash_is_that_of_the_file(tmp_path):
    (tmp_path / "w").write_bytes(b"abc")
    assert weights_hash(tmp_path / "w") == (
        "sha256:ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"  # FIPS 180-2, appendix B.1
    )
