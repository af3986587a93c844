"""Pictures come out as they are meant to be looked at; broken and hostile ones end in a sentence."""

import struct
import zlib

import numpy as np
import pytest
from PIL import ExifTags, Image

from mm_kptm.data.images.decoding import picture_size, read_picture
from mm_kptm.data.images.folders import inside, pictures_in
from mm_kptm.errors import UserError

#: Left half red, right half blue: 6 wide, 4 high.
FLAG = np.zeros((4, 6, 3), np.uint8)
FLAG[:, :3, 0] = FLAG[:, 3:, 2] = 255


def saved(path, array=FLAG, mode=None, **options):
    image = Image.fromarray(array)
    (image.convert(mode) if mode else image).save(path, **options)
    return path


@pytest.mark.parametrize("name", ["x.png", "x.bmp", "x.gif", "x.tiff", "x.ppm", "x.webp"])
def test_colours_are_red_green_blue(tmp_path, name):
    options = {"lossless": True} if name == "x.webp" else {}
    np.testing.assert_array_equal(read_picture(saved(tmp_path / name, **options)), FLAG)


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (1, FLAG),
        (2, FLAG[:, ::-1]),
        (3, FLAG[::-1, ::-1]),
        (4, FLAG[::-1]),
        (5, FLAG.transpose(1, 0, 2)),
        (6, np.rot90(FLAG, -1)),
        (7, FLAG[::-1, ::-1].transpose(1, 0, 2)),
        (8, np.rot90(FLAG)),
    ],
)
def test_the_rotation_of_the_camera_is_carried_out(tmp_path, orientation, expected):
    exif = Image.Exif()
    exif[ExifTags.Base.Orientation] = orientation
    path = saved(tmp_path / "x.png", exif=exif)
    np.testing.assert_array_equal(read_picture(path), expected)
    assert picture_size(path) == expected.shape[1::-1]


def test_cmyk_is_turned_into_rgb(tmp_path):
    found = read_picture(saved(tmp_path / "x.tiff", mode="CMYK"))
    np.testing.assert_array_equal(found, FLAG)
    assert read_picture(saved(tmp_path / "x.jpg", np.full((8, 8, 3), 200, np.uint8), mode="CMYK")).shape == (8, 8, 3)


def test_sixteen_bits_become_eight(tmp_path):
    deep = np.array([[0, 257, 65535, 32768]], np.uint16)
    found = read_picture(saved(tmp_path / "x.png", deep))
    assert found[0].tolist() == [[0] * 3, [1] * 3, [255] * 3, [128] * 3]


def test_what_is_transparent_lies_on_white(tmp_path):
    clear = np.dstack([FLAG, np.full((4, 6), 255, np.uint8)])
    clear[0, :, 3] = 0
    found = read_picture(saved(tmp_path / "x.png", clear))
    assert (found[0] == 255).all()
    np.testing.assert_array_equal(found[1:], FLAG[1:])


def test_grey_palettes_and_one_bit_have_three_channels(tmp_path):
    for mode in ("L", "P", "1", "LA"):
        assert read_picture(saved(tmp_path / f"{mode}.png", mode=mode)).shape == FLAG.shape


def test_of_an_animation_the_first_frame_is_taken(tmp_path):
    frames = [Image.fromarray(FLAG), Image.fromarray(FLAG[:, ::-1].copy())]
    for name in ("x.gif", "x.webp"):
        options = {"lossless": True} if name == "x.webp" else {}
        frames[0].save(tmp_path / name, save_all=True, append_images=frames[1:], **options)
        np.testing.assert_array_equal(read_picture(tmp_path / name), FLAG)


def bomb(width, height):
    """A PNG that claims a size and holds next to nothing."""

    def chunk(kind, data):
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    body = zlib.compress(bytes(1000))
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", body) + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", r"picture .*x\.png is an empty file"),
        (b"hello", r"x\.png is no picture of a known kind"),
        (bomb(12000, 9000), r"x\.png claims 12000 x 9000 pixels, more than the 100,000,000 that are decoded"),
        (bomb(60000, 60000), r"x\.png claims more pixels than the 100,000,000 that are decoded"),
        (bomb(0, 5), r"x\.png (is 0 pixels wide and 5 high|is no picture|cannot be decoded)"),
        (bomb(100, 100), r"picture .*x\.png cannot be decoded"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\n", r"x\.png is EPS, which is not decoded"),
    ],
    ids=["empty", "text", "large", "bomb", "no width", "cut short", "program"],
)
def test_a_bad_picture_is_named(tmp_path, data, message):
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(UserError, match=message):
        read_picture(tmp_path / "x.png")


def test_a_picture_cut_short_is_named(tmp_path):
    noise = np.random.default_rng(0).integers(0, 255, (64, 64, 3), dtype=np.uint8)
    whole = saved(tmp_path / "x.jpg", noise).read_bytes()
    (tmp_path / "x.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match=r"picture .*x\.jpg cannot be decoded: .*truncated"):
        read_picture(tmp_path / "x.jpg")


def test_a_picture_that_is_not_there_is_named(tmp_path):
    with pytest.raises(UserError, match=r"picture .*x\.png is not there"):
        read_picture(tmp_path / "x.png")


def test_a_limit_of_pixels_holds(tmp_path):
    path = saved(tmp_path / "x.png")
    assert read_picture(path, most_pixels=24).shape == (4, 6, 3)
    with pytest.raises(UserError, match="claims 6 x 4 pixels, more than the 23 that are decoded"):
        read_picture(path, most_pixels=23)


def test_pictures_of_a_folder_by_name(tmp_path):
    (tmp_path / "in" / "b").mkdir(parents=True)
    (tmp_path / "in" / ".hidden").mkdir()
    for name in ("in/b/z.JPG", "in/a.png", "in/notes.txt", "in/.hidden/c.png", "in/.d.png", "out.png"):
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "in" / "leads-out.png").symlink_to(tmp_path / "out.png")
    (tmp_path / "in" / "again.png").symlink_to(tmp_path / "in" / "a.png")
    assert pictures_in(tmp_path / "in") == ["a.png", "again.png", "b/z.JPG"]
    with pytest.raises(UserError, match=r"holds no picture; files of these kinds are read: \.jpg"):
        pictures_in(_empty(tmp_path))
    with pytest.raises(UserError, match="which is no folder"):
        pictures_in(tmp_path / "nowhere")


def _empty(tmp_path):
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


@pytest.mark.parametrize("name", ["../x.png", "/etc/passwd", "a/../../x.png", "", "x\0.png"])
def test_a_name_that_leaves_the_folder_is_refused(tmp_path, name):
    with pytest.raises(UserError, match="leads out of"):
        inside(tmp_path, name)


def test_a_name_in_the_folder_is_a_path(tmp_path):
    assert inside(tmp_path, "a/b.png") == tmp_path / "a/b.png"
