from collections.abc import Callable

import numpy as np
import pytest
import torch

from locatlas.models.encode import Encoder, load_encoder
from locatlas.models.views import turned
from locatlas.types import ChannelImage


def encoder(make_spec: Callable, **changes: object) -> Encoder:
    return load_encoder(make_spec(**changes), device="cpu")


def orientations(pixels: np.ndarray) -> list[np.ndarray]:
    """All that quarters of a turn and mirrors make of an image, by transposing and reversing axes."""
    out = []
    for transposed in (False, True):
        plane = pixels.swapaxes(-1, -2) if transposed else pixels
        out += [plane[..., ::down, ::right] for down in (1, -1) for right in (1, -1)]
    return out


def test_there_are_eight_views_and_the_first_is_the_image() -> None:
    image = torch.arange(12.0).reshape(1, 3, 4)
    views = [turned(image, view) for view in range(8)]
    assert torch.equal(views[0], image)
    expected = {np.ascontiguousarray(one).tobytes() + bytes(one.shape) for one in orientations(image.numpy())}
    assert {view.numpy().tobytes() + bytes(view.shape) for view in views} == expected
    assert len(expected) == 8
    assert views[1].tolist() == np.rot90(image.numpy(), axes=(1, 2)).tolist()


@pytest.mark.parametrize("changes", [{}, {"stains": ("protein", "nucleus"), "passes": "separate"}])
@pytest.mark.parametrize("pooling", ["cls", "cls_spread"])
def test_the_vector_is_the_mean_of_those_of_the_turned_images(
    pooling: str, changes: dict, make_spec: Callable, image: ChannelImage
) -> None:
    changes = {**changes, "pooling": pooling, "embedding_dim": 384 if pooling == "cls_spread" else 192}
    one, four, eight = (encoder(make_spec, views=views, **changes) for views in (1, 4, 8))
    turned_images = [ChannelImage(p.copy(), image.channels) for p in orientations(image.pixels)]
    each = one.encode(turned_images)
    np.testing.assert_allclose(eight.encode([image])[0], each.mean(0), atol=1e-5)
    quarters = one.encode([ChannelImage(np.rot90(image.pixels, n, (1, 2)).copy(), image.channels) for n in range(4)])
    np.testing.assert_allclose(four.encode([image])[0], quarters.mean(0), atol=1e-5)
    assert np.abs(each - each[0]).max() > 1e-3  # or nothing would be tried here


def test_a_turned_or_mirrored_cell_has_the_same_vector(make_spec: Callable, image: ChannelImage) -> None:
    eight = encoder(make_spec, views=8, resize="none_pad_to_patch")
    square = [ChannelImage(p[:, :32, :32].copy(), image.channels) for p in orientations(image.pixels[:, :32, :32])]
    vectors = eight.encode(square)
    np.testing.assert_allclose(vectors, np.broadcast_to(vectors[0], vectors.shape), atol=1e-5)


def test_images_that_are_not_square_are_turned_too(make_spec: Callable, image: ChannelImage) -> None:
    vectors = encoder(make_spec, views=4, resize="none_pad_to_patch").encode([image])
    assert vectors.shape == (1, 192)
