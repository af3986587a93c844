"""Each planted fault is named, and a healthy extraction is left alone."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from mm_kptm.vision.extractors.build import ExtractorSettings, build_extractor
from mm_kptm.vision.extractors.extract import extract_again
from mm_kptm.vision.features.contract import FeatureContract
from mm_kptm.vision.features.convert import PictureSizes
from mm_kptm.vision.features.detections import Detections
from mm_kptm.vision.features.doctor import FAULTS, Doctor
from mm_kptm.vision.features.formats.format import format_named

SIZES = [(640, 480), (640, 427), (333, 500), (500, 375), (480, 640), (500, 333)]


def image(number, *, size=None, classes=7):
    rng = np.random.default_rng(number)
    size = size or SIZES[number % len(SIZES)]
    boxes = np.sort(rng.uniform(size=(12, 2, 2)), axis=1).reshape(12, 4)
    boxes[0] = [0, 0, 1, 1]
    probs = rng.dirichlet(np.ones(classes), 12).astype(np.float32)
    attributes = rng.dirichlet(np.ones(4), 12).astype(np.float32)
    return Detections(
        f"COCO_{number}",
        rng.gamma(1.0, size=(12, 5)).astype(np.float32),
        (boxes * [*size, *size]).astype(np.float32),
        size,
        class_probs=probs,
        object_ids=probs[:, 1:].argmax(axis=1),
        attribute_probs=attributes,
        attribute_ids=attributes[:, 1:].argmax(axis=1),
    )


HEALTHY = [image(number) for number in range(12)]


def names(images, **options):
    return [fault.name for fault in Doctor(**options).examine(iter(images))]


def fractions(image):
    return replace(image, boxes=image.fraction_boxes(), fractions=True)


def swapped(image):
    return replace(image, boxes=image.boxes[:, [1, 0, 3, 2]])


def test_the_healthy_are_left_alone():
    assert names(HEALTHY) == []
    assert names(map(fractions, HEALTHY)) == []
    assert names(HEALTHY, contract=FeatureContract(dim=5, num_classes=6), dim=5) == []


FAULTY = {
    "boxes-unnormalised": lambda each: replace(each, fractions=True),
    "boxes-normalised": lambda each: replace(fractions(each), fractions=False),
    "xy-swapped": swapped,
    "boxes-not-corners": lambda each: replace(each, boxes=each.boxes[:, [2, 3, 0, 1]]),
    "boxes-outside": lambda each: replace(each, boxes=each.boxes + 700),
    "classes-off-by-one": lambda each: replace(each, object_ids=each.object_ids + 1),
    "attributes-off-by-one": lambda each: replace(each, attribute_ids=each.attribute_ids - 1),
    "not-finite": lambda each: replace(each, features=each.features * np.nan),
}


@pytest.mark.parametrize("fault", FAULTY)
def test_a_fault_of_all_images_is_named(fault):
    assert names(map(FAULTY[fault], HEALTHY)) == [fault]


def test_width_and_height_swapped_in_the_file():
    """Most sizes then say that pictures are higher than wide, which photographs are not."""
    assert names([replace(each, size=each.size[::-1]) for each in HEALTHY]) == ["size-swapped"]


def test_boxes_divided_by_the_wrong_side():
    """x over the height and y over the width."""
    broken = [replace(each, boxes=each.boxes / np.tile(each.size[::-1], 2), fractions=True) for each in HEALTHY]
    assert names(broken) == ["size-swapped"]


def test_axes_swapped_before_the_division():
    broken = [
        replace(swapped(each), boxes=swapped(each).boxes / np.tile(each.size, 2), fractions=True) for each in HEALTHY
    ]
    assert names(broken) == ["xy-swapped"]


def test_an_empty_image_is_named():
    empty = Detections("none", np.zeros((0, 5)), np.zeros((0, 4)), (5, 5))
    (fault,) = Doctor().examine(iter([*HEALTHY, empty]))
    assert (fault.name, fault.images, fault.examples) == ("empty-image", 1, ("none",))
    assert fault.sentence == "1 of 13 images have no region"


def test_a_wrong_dim_is_named():
    odd = replace(HEALTHY[0], image="odd", features=np.ones((12, 4), np.float32))
    (fault,) = Doctor().examine(iter([*HEALTHY, odd]))
    assert (fault.name, fault.sentence) == ("wrong-dim", "1 of 13 images have features of 4 numbers, not 5")
    for options in ({"dim": 2048}, {"contract": FeatureContract(dim=2048)}):
        (fault,) = Doctor(**options).examine(iter(HEALTHY))
        assert (fault.name, fault.sentence) == ("wrong-dim", "12 of 12 images have features of 5 numbers, not 2048")


@pytest.mark.parametrize(
    ("ids", "contract"), [([1, 1600], None), ([-1, 3], None), ([1, 90], FeatureContract(num_classes=90))]
)
def test_ids_out_of_range_are_one_off(ids, contract):
    broken = replace(HEALTHY[0], class_probs=None, object_ids=np.tile(ids, 6))
    assert names([broken], contract=contract) == ["classes-off-by-one"]


@pytest.mark.parametrize("ids", [[0, 1599], [0, 5]])
def test_ids_in_range_are_left_alone(ids):
    assert names([replace(HEALTHY[0], class_probs=None, object_ids=np.tile(ids, 6))]) == []


def test_colours_against_their_means():
    contract = FeatureContract(colour_order="rgb", means=(102.98, 115.95, 122.77))
    assert names(HEALTHY, contract=contract) == ["bgr-for-rgb"]


def test_a_file_that_breaks_off_is_named(tmp_path):
    format = format_named("bottom-up-tsv")
    with format.write(tmp_path / "x.tsv") as add:
        for each in HEALTHY[:2]:
            add(each)
    (tmp_path / "x.tsv").write_text((tmp_path / "x.tsv").read_text()[:-20] + "\n")
    (fault,) = Doctor().examine(format.read(tmp_path / "x.tsv"))
    assert fault.name == "unreadable"
    assert "the file cannot be read on after 1 images: " in fault.sentence


def test_an_image_that_stands_there_twice_is_named():
    (fault,) = Doctor().examine(iter([*HEALTHY, HEALTHY[1]]))
    assert (fault.name, fault.images, fault.examples) == ("image-twice", 1, (HEALTHY[1].image,))


def test_no_image_at_all_is_named():
    assert names([]) == ["no-images"]


@pytest.fixture
def pictures(tmp_path):
    rng = np.random.default_rng(0)
    for number, size in enumerate(SIZES[:4]):
        pixels = rng.integers(0, 256, (size[1] // 10, size[0] // 10, 3), dtype=np.uint8)
        pixels[:, :, 2] //= 4  # not much blue
        Image.fromarray(pixels).save(tmp_path / f"COCO_{number}.png")
    return PictureSizes(tmp_path)


def of_pictures(pictures):
    return [image(number, size=pictures.size(f"COCO_{number}")) for number in range(4)]


def test_pictures_make_sure_which_axes_are_swapped(pictures):
    images = of_pictures(pictures)
    assert names(images, sizes=pictures) == []
    assert names(map(swapped, images), sizes=pictures) == ["xy-swapped"]
    wrong = [replace(each, size=each.size[::-1]) for each in images]
    assert names(wrong, sizes=pictures) == ["size-swapped"]
    high = [each for each in images if each.size[0] < each.size[1]]
    assert names([replace(each, size=each.size[::-1]) for each in high], sizes=pictures) == ["size-swapped"]
    assert names([replace(each, size=(9, 9)) for each in images[:1]], sizes=pictures) == ["size-wrong"]


@pytest.mark.parametrize("exchanged", [False, True])
def test_colours_against_pictures(pictures, exchanged):
    built = build_extractor(ExtractorSettings("grid", "resnet18", size=64), None)
    doctor = Doctor(contract=built.contract)
    for number in range(4):
        name = f"COCO_{number}"
        right, wrong = extract_again(built, pictures.path(name), name)
        image = wrong if exchanged else right
        doctor.compare(image, *extract_again(built, pictures.path(name), name))
        doctor.look(image)
    assert [fault.name for fault in doctor.faults()] == (["bgr-for-rgb"] if exchanged else [])


def test_a_second_extraction_betrays_what_fits_either_way():
    square = [image(number, size=(100, 100)) for number in range(6)]
    assert names(map(swapped, square)) == []  # nobody can see it
    doctor = Doctor()
    for each in square:
        doctor.compare(swapped(each), each)
        doctor.look(swapped(each))
    assert [fault.name for fault in doctor.faults()] == ["xy-swapped"]
    doctor = Doctor()
    for each in square:
        off = replace(each, object_ids=each.object_ids + 1, class_probs=None)
        doctor.compare(off, each)
        doctor.look(off)
    assert [fault.name for fault in doctor.faults()] == ["classes-off-by-one"]
    doctor = Doctor()
    for each in square:
        doctor.compare(each, each)
        doctor.look(each)
    assert doctor.faults() == []


def test_every_fault_has_its_words():
    assert set(FAULTY) < set(FAULTS)
