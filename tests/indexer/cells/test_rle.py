"""Run-length encodings against pycocotools and masks encoded by hand; what is wrong with an encoding is said."""

import base64
import zlib

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from pycocotools import _mask as coco

from locatlas.errors import ImageRejectedError
from locatlas.indexer.cells.rle import Runs, decode_coco, decode_runs, mask_of, split_prediction

MASKS = npst.arrays(np.bool_, st.tuples(st.integers(1, 40), st.integers(1, 40)))


def coco_text(mask: np.ndarray) -> str:
    counts = coco.encode(np.asfortranarray(mask[..., None].astype(np.uint8)))[0]["counts"]
    return base64.b64encode(zlib.compress(counts)).decode()


def packed(counts: bytes) -> str:
    return base64.b64encode(zlib.compress(counts)).decode()


def classic_text(mask: np.ndarray) -> str:
    """Pixel by pixel, down the columns."""
    runs: list[list[int]] = []
    for number, inside in enumerate(mask.ravel(order="F").tolist(), start=1):
        if inside and runs and sum(runs[-1]) == number:
            runs[-1][1] += 1
        elif inside:
            runs.append([number, 1])
    return " ".join(f"{start} {length}" for start, length in runs)


def drawn(runs: Runs, shape: tuple[int, int]) -> np.ndarray:
    out = np.zeros(shape, dtype=bool)
    if len(runs[0]):
        (top, left, bottom, right), mask = mask_of(runs, height=shape[0], width=shape[1])
        assert mask[0].any()
        assert mask[-1].any()
        assert mask[:, 0].any()
        assert mask[:, -1].any()
        out[top:bottom, left:right] = mask
    return out


@given(MASKS)
def test_coco_encodings_are_decoded_as_pycocotools_wrote_them(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(drawn(decode_coco(coco_text(mask), n_pixels=mask.size), mask.shape), mask)


@given(MASKS)
def test_classic_encodings_are_decoded_as_written_pixel_by_pixel(mask: np.ndarray) -> None:
    np.testing.assert_array_equal(drawn(decode_runs(classic_text(mask), n_pixels=mask.size), mask.shape), mask)


def test_a_large_field_with_a_small_cell() -> None:
    mask = np.zeros((2048, 3000), dtype=bool)
    mask[2000:2048, 2990:3000] = True
    for runs in (decode_coco(coco_text(mask), n_pixels=mask.size), decode_runs(classic_text(mask), n_pixels=mask.size)):
        assert mask_of(runs, height=2048, width=3000)[0] == (2000, 2990, 2048, 3000)


def test_pixels_are_counted_down_the_columns_from_one() -> None:
    # rows 1 and 2 of the second of three columns of four pixels, counted by hand
    starts, lengths = decode_runs("6 2", n_pixels=12)
    assert (starts.tolist(), lengths.tolist()) == ([5], [2])
    box, mask = mask_of((starts, lengths), height=4, width=3)
    assert box == (1, 1, 3, 2)
    assert mask.tolist() == [[True], [True]]


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("1 3 10", "3 numbers, so a start has no length"),
        ("1 3 ten 2", "'ten' is not a whole number"),
        ("1 -3", "'-3' is not a whole number"),
        ("1 2.5", "'2.5' is not a whole number"),
        ("nan 1", "'nan' is not a whole number"),
        ("0 3", "run 1 is 0 3; starts and lengths begin with 1"),
        ("1 0", "run 1 is 1 0"),
        ("95 7", "run 1 ends at pixel 101, but the image has 100"),
        ("1 5 4 3", "run 2 begins before run 1 has ended"),
        ("50 5 1 5", "run 2 begins before run 1 has ended"),
        ("9999999999999999 1", "is not a whole number"),
    ],
)
def test_what_is_wrong_with_a_classic_encoding_is_said(text: str, reason: str) -> None:
    with pytest.raises(ImageRejectedError, match=reason):
        decode_runs(text, n_pixels=100)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("!!!", "not base64"),
        ("é", "not base64"),
        (base64.b64encode(b"no zlib").decode(), "not deflated by zlib"),
        (packed(b"12")[:-6] + "AA==", "not deflated by zlib|cut off"),
        (base64.b64encode(zlib.compress(b"0" * 100)[:-6]).decode(), "cut off: the deflated bytes have no end"),
        (packed(b"\x00\xff"), r"byte 0 \(0\) belongs to no COCO encoding"),
        (packed(b"`"), "cut off in the middle of a number"),
        (packed(b"ooooooooooo0"), "belongs to no COCO encoding"),
        (packed(b"O"), "run 1 has the length -1"),
        (packed(b"54"), "its runs cover 9 pixels, but the image has 100"),
        (coco_text(np.ones((5, 5), bool)), "its runs cover 25 pixels, but the image has 100"),
        (packed(b"0" * (5 << 20)), "expands to more than"),
    ],
)
def test_what_is_wrong_with_a_coco_encoding_is_said(text: str, reason: str) -> None:
    with pytest.raises(ImageRejectedError, match=reason):
        decode_coco(text, n_pixels=100)


@given(st.binary(max_size=30))
def test_garbage_never_breaks_the_decoder(counts: bytes) -> None:
    for text in (packed(counts), base64.b64encode(counts).decode()):
        try:
            starts, lengths = decode_coco(text, n_pixels=50)
        except ImageRejectedError:
            continue
        assert (starts + lengths <= 50).all()
        assert (starts >= 0).all()


@given(st.text(alphabet="0123456789 -x.", max_size=30))
def test_classic_garbage_never_breaks_the_decoder(text: str) -> None:
    try:
        starts, lengths = decode_runs(text, n_pixels=50)
    except ImageRejectedError:
        return
    assert (starts[1:] >= (starts + lengths)[:-1]).all()
    assert (starts + lengths <= 50).all()


def test_a_cell_of_several_classes_is_one_encoding() -> None:
    assert split_prediction("16 0.9 aaa 0 0.5 aaa 14 1 bbb") == ["aaa", "bbb"]
    assert split_prediction("") == []


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("0 0.5", "2 words; it must come in threes: class, confidence, encoding"),
        ("x 0.5 aaa", "class 'x' is not a whole number"),
        ("0 high aaa", "confidence 'high' is not a number"),
    ],
)
def test_a_prediction_that_does_not_come_in_threes_is_refused(text: str, reason: str) -> None:
    with pytest.raises(ImageRejectedError, match=reason):
        split_prediction(text)
