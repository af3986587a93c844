"""Two extractions compared, with boxes whose overlap can be counted by hand."""

from dataclasses import replace

import numpy as np
import pytest

from mm_kptm.errors import UserError
from mm_kptm.vision.features.detections import Detections
from mm_kptm.vision.features.diff import aligned, cosines, diff, match, overlap


def image(name, boxes, features, ids=None, size=(10, 10)):
    return Detections(name, np.array(features, float), np.array(boxes, float), size, object_ids=ids)


ONE = image("a", [[0, 0, 10, 10], [0, 0, 2, 2]], [[1, 0], [0, 2]], np.array([3, 4]))


def test_the_same_is_the_same():
    found = diff(iter([ONE]), iter([ONE]))
    assert (found.images, found.regions, found.matched, found.iou) == (1, (2, 2), 2, 1)
    assert (found.cosine, found.worst_cosine, found.same_class, found.dims) == (1, 1, 1, (2, 2))
    assert (found.only_first, found.only_second, found.sizes) == ([], [], [])


def test_order_of_regions_and_of_images_does_not_matter():
    turned = replace(ONE, features=ONE.features[::-1], boxes=ONE.boxes[::-1], object_ids=ONE.object_ids[::-1])
    other = replace(ONE, image="b")
    found = diff(iter([ONE, other]), iter([other, turned]))
    assert (found.images, found.matched, found.iou, found.cosine, found.same_class) == (2, 4, 1, 1, 1)


def test_what_differs_is_measured():
    # IoU of the large boxes 50 / 100; the small ones do not meet
    two = image("a", [[0, 0, 10, 5], [8, 8, 9, 9]], [[1, 1], [5, 5]], np.array([9, 9]), size=(10, 9))
    found = diff(iter([ONE]), iter([replace(two, size=(10, 10))]))
    assert (found.matched, found.iou, found.same_class) == (1, 0.5, 0)
    assert found.cosine == found.worst_cosine == pytest.approx(0.5**0.5)
    assert diff(iter([ONE]), iter([two])).sizes == ["a"]
    assert diff(iter([ONE]), iter([replace(two, size=(10, 10))]), threshold=0.6).matched == 0


def test_units_may_differ():
    scaled = replace(ONE, boxes=ONE.boxes / 10, fractions=True)
    assert diff(iter([ONE]), iter([scaled])).iou == 1
    with pytest.raises(UserError, match="cannot be turned into fractions"):
        diff(iter([replace(ONE, size=None)]), iter([scaled]))


def test_features_of_two_dims_are_not_compared():
    found = diff(iter([ONE]), iter([replace(ONE, features=np.ones((2, 3)))]))
    assert (found.matched, found.cosine, found.dims) == (2, None, (2, 3))


def test_images_of_one_side_are_told():
    found = diff(iter([ONE, replace(ONE, image="b")]), iter([replace(ONE, image="c"), ONE]))
    assert (found.images, found.only_first, found.only_second) == (1, ["b"], ["c"])


def test_streams_of_one_order_wait_for_nothing():
    taken = []

    def stream(side):
        for number in range(100):
            taken.append((side, number))
            yield replace(ONE, image=str(number))

    for number, _ in enumerate(aligned(stream("first"), stream("second"))):
        assert max(place for _, place in taken) == number


def test_overlap_of_nothing_is_nothing():
    boxes = np.array([[0, 0, 2, 2], [1, 1, 1, 1], [1, 0, 3, 2]], float)
    np.testing.assert_allclose(overlap(boxes, boxes), [[1, 0, 1 / 3], [0, 0, 0], [1 / 3, 0, 1]])
    assert [len(part) for part in match(np.zeros((0, 3)), 0.5)] == [0, 0]


def test_cosines_of_zeros():
    np.testing.assert_allclose(
        cosines(np.array([[0, 0], [0, 0], [1, 0]]), np.array([[0, 0], [1, 0], [2, 0]])), [1, 0, 1]
    )


def test_pictures_and_published_files_name_an_image_alike_but_for_the_ending():
    extracted = replace(ONE, image="val/COCO_42.JPG")
    found = diff(iter([extracted]), iter([replace(ONE, image="val/COCO_42")]))
    assert (found.images, found.matched) == (1, 2)


def test_what_cannot_be_compared_is_said():
    dark = replace(ONE, features=ONE.features * np.nan)
    with pytest.raises(UserError, match="image 'a' has features or boxes that are not finite numbers"):
        diff(iter([ONE]), iter([dark]))
    with pytest.raises(UserError, match="no image is in both: the first has 'a', the second 'b'"):
        diff(iter([ONE]), iter([replace(ONE, image="b")]))
