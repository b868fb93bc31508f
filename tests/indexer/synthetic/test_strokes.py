import numpy as np
import pytest

from locatlas.indexer.synthetic.scene import Scene
from locatlas.indexer.synthetic.strokes import blur, sample, splat, spots, walk


def test_splat_shares_light_among_four_pixels_by_distance(scene: Scene) -> None:
    point = np.array([[10.25, 20.5]], dtype=np.float32)
    field = splat(scene, point, np.array([8.0], dtype=np.float32))
    expected = np.zeros(scene.shape)
    expected[10, 20] = expected[10, 21] = 8 * 3 / 4 * 1 / 2
    expected[11, 20] = expected[11, 21] = 8 * 1 / 4 * 1 / 2
    np.testing.assert_allclose(field, expected)


def test_splat_drops_points_outside_the_field_or_their_own_cell(scene: Scene) -> None:
    label = int(scene.cells[160, 160]) or int(scene.cells.max())
    y, x = np.argwhere((scene.cells == label) & (scene.edge_um > 1))[0]
    points = np.array([[y, x], [y, x], [-5, 3], [5, 10_000]], dtype=np.float32)
    owners = np.array([label, label + 1, label, label])
    field = splat(scene, points, np.ones(4, dtype=np.float32), owners)
    assert field.sum() == pytest.approx(1)
    assert field[y, x] == pytest.approx(1)


def test_samples_follow_the_weight_and_stay_in_their_cell(scene: Scene, rng: np.random.Generator) -> None:
    weight = np.where(scene.nucleus > 0.5, 3.0, 1.0).astype(np.float32)
    counts = np.full(scene.n_cells + 1, 400)
    points, owners = sample(scene, weight, counts, rng)
    y, x = np.rint(points).astype(int).clip(0, 319).T
    np.testing.assert_array_equal(scene.cells[y, x], owners)
    full = np.bincount(owners, minlength=scene.n_cells + 1) == 400
    assert full.any()
    for label in np.flatnonzero(full):
        own = scene.cells == label
        expected = weight[own & (scene.nucleus > 0.5)].sum() / weight[own].sum()
        share = np.mean(scene.nucleus[y, x][owners == label] > 0.5)
        assert share == pytest.approx(expected, abs=5 * np.sqrt(0.25 / 400))


def test_a_cell_cut_by_the_edge_of_the_field_gets_its_part_of_the_places(
    scene: Scene, rng: np.random.Generator
) -> None:
    weight = (scene.cells > 0).astype(np.float32)
    _, owners = sample(scene, weight, np.full(scene.n_cells + 1, 1000), rng)
    areas = np.bincount(scene.cells.ravel(), minlength=scene.n_cells + 1)[1:]
    got = np.bincount(owners, minlength=scene.n_cells + 1)[1:]
    expected = 1000 * np.minimum(areas / np.median(areas), 1)
    np.testing.assert_allclose(got, expected, atol=5 * np.sqrt(250))


def test_cells_without_weight_get_no_places(scene: Scene, rng: np.random.Generator) -> None:
    points, owners = sample(scene, np.zeros(scene.shape, dtype=np.float32), np.full(scene.n_cells + 1, 5), rng)
    assert points.shape == (0, 2)
    assert owners.shape == (0,)


def test_a_walk_without_bending_is_a_straight_line(rng: np.random.Generator) -> None:
    starts = np.array([[1.0, 2.0], [5.0, 5.0]], dtype=np.float32)
    track = walk(starts, np.array([0.0, np.pi / 2], dtype=np.float32), steps=3, step_px=2.0, bend=0.0, rng=rng)
    np.testing.assert_allclose(track[0], [[1, 4], [1, 6], [1, 8]], atol=1e-5)
    np.testing.assert_allclose(track[1], [[7, 5], [9, 5], [11, 5]], atol=1e-5)


def test_a_bent_walk_keeps_its_step_length(rng: np.random.Generator) -> None:
    starts = rng.random((20, 2)).astype(np.float32)
    track = walk(starts, rng.random(20).astype(np.float32), steps=30, step_px=0.7, bend=0.3, rng=rng)
    steps = np.linalg.norm(np.diff(track, axis=1, prepend=starts[:, None]), axis=2)
    np.testing.assert_allclose(steps, 0.7, rtol=1e-4)


def test_a_spot_has_the_requested_width_and_blur_keeps_its_light(scene: Scene, rng: np.random.Generator) -> None:
    label = int(np.argmax(np.bincount(scene.cells.ravel())[1:]) + 1)
    y, x = np.argwhere(scene.cells == label).mean(axis=0)
    assert scene.cells[int(y), int(x)] == label
    place = np.array([[int(y), int(x)]], dtype=np.float32)
    spot = spots(scene, place, np.array([label]), sigma_px=2.0, spread=0.0, rng=rng)
    assert spot.sum() == pytest.approx(1, rel=1e-3)
    rows = np.arange(320)
    variance = (spot.sum(axis=1) * (rows - int(y)) ** 2).sum()
    assert variance == pytest.approx(4, rel=0.06)  # the kernel is cut at 3 SD
    assert blur(spot, 1.0).sum() == pytest.approx(1, rel=1e-3)
