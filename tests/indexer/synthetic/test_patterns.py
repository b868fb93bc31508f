"""What a biologist would look for in each pattern, measured on the light before optics and noise."""

import numpy as np
import pytest
from numpy.typing import NDArray
from scipy import ndimage

from locatlas.indexer.synthetic.classes import CLASSES
from locatlas.indexer.synthetic.patterns import PATTERNS, draw_pattern, draw_protein
from locatlas.indexer.synthetic.patterns_nucleus import dna
from locatlas.indexer.synthetic.proteins import make_proteins
from locatlas.indexer.synthetic.scene import Scene
from locatlas.indexer.synthetic.traits import Traits

MIDDLE = Traits(size=0.5, count=0.5, contrast=0.5, kind=0.4)
NUCLEAR = ("nucleoplasm", "chromatin", "nuclear_punctae", "nucleolus_gc", "nucleolus_fc_dfc")
OUTSIDE = ("cytoplasmic", "er", "golgi", "mitochondria", "vesicles", "cytoskeleton", "focal_adhesions")


@pytest.fixture(scope="module")
def drawn(scene: Scene) -> dict[str, NDArray[np.float32]]:
    """Every pattern on the same cells; cells in metaphase left out."""
    interphase = ~scene.per_cell(scene.mitotic)
    return {
        label: draw_pattern(label, scene, MIDDLE, np.random.default_rng(1)) * interphase for label in sorted(PATTERNS)
    }


def share(field: NDArray[np.float32], where: NDArray[np.bool_]) -> float:
    return float(field[where].sum() / field.sum())


def per_area(field: NDArray[np.float32], where: NDArray[np.bool_]) -> float:
    """Light density of a region over that of the whole field."""
    return share(field, where) / float(np.mean(where))


def dots(field: NDArray[np.float32], level: float) -> int:
    """Local maxima over 3 x 3 above a share of the brightest."""
    peak = ndimage.maximum_filter(field, 3)
    return int(np.sum((field == peak) & (field > level * field.max())))


@pytest.mark.parametrize("label", sorted(PATTERNS))
def test_light_is_finite_not_negative_and_one_on_average_in_cells(label: str, scene: Scene) -> None:
    for kind in (0.1, 0.9):
        traits = Traits(0.2, 0.8, 0.7, kind)
        field = draw_pattern(label, scene, traits, np.random.default_rng(5))
        assert field.dtype == np.float32
        assert field.shape == scene.shape
        assert np.isfinite(field).all()
        assert field.min() >= 0
        assert field.sum() / np.sum(scene.cells > 0) == pytest.approx(1, rel=1e-3)


@pytest.mark.parametrize("label", NUCLEAR)
def test_nuclear_patterns_lie_in_nuclei(label: str, scene: Scene, drawn: dict[str, NDArray[np.float32]]) -> None:
    assert share(drawn[label], scene.depth_um > -0.5) > 0.95


@pytest.mark.parametrize("label", OUTSIDE)
def test_other_patterns_spare_nuclei(label: str, scene: Scene, drawn: dict[str, NDArray[np.float32]]) -> None:
    nuclei = scene.depth_um > 0.6
    cytoplasm = (scene.cells > 0) & (scene.depth_um < -0.6)
    assert per_area(drawn[label], nuclei) < 0.75 * per_area(drawn[label], cytoplasm)


def test_nucleoplasm_is_more_even_than_chromatin(scene: Scene, drawn: dict[str, NDArray[np.float32]]) -> None:
    inside = (scene.depth_um > 0.8) & (scene.nucleolar == 0) & ~scene.per_cell(scene.mitotic)
    spread = {label: drawn[label][inside].std() / drawn[label][inside].mean() for label in ("nucleoplasm", "chromatin")}
    assert spread["nucleoplasm"] < 0.7 * spread["chromatin"]


def test_chromatin_follows_the_dna_stain_on_the_same_generator(scene: Scene) -> None:
    bound = PATTERNS["chromatin"](scene, MIDDLE, np.random.default_rng(2))
    stain = dna(scene, np.random.default_rng(2), 0.3)
    assert np.corrcoef(bound.ravel(), stain.ravel())[0, 1] > 0.95


def test_speckles_are_clouds_apart_from_nucleoli(scene: Scene) -> None:
    field = PATTERNS["chromatin"](scene, Traits(0.5, 0.5, 1.0, 0.9), np.random.default_rng(2))
    clouds = field > 0.3 * field.max()
    n_nuclei = len(np.unique(scene.nuclei)) - 1
    assert 3 <= ndimage.label(clouds)[1] / n_nuclei <= 40
    assert np.mean(scene.nucleolar[clouds]) < 0.1


def test_punctae_are_a_few_dots_per_nucleus_and_more_with_the_trait(scene: Scene) -> None:
    n_nuclei = len(np.unique(scene.nuclei)) - 1
    few, many = (
        dots(PATTERNS["nuclear_punctae"](scene, Traits(0.1, count, 0.0, 0.5), np.random.default_rng(3)), 0.2) / n_nuclei
        for count in (0.1, 1.0)
    )
    assert 1 <= few <= 8
    assert 2.5 * few < many <= 34


def test_nucleolar_patterns_light_up_the_nucleoli(scene: Scene, drawn: dict[str, NDArray[np.float32]]) -> None:
    nucleoli = scene.nucleolar > 0.5
    assert share(drawn["nucleolus_gc"], nucleoli) > 0.8
    assert share(drawn["nucleolus_fc_dfc"], nucleoli) > 0.6
    # fibrillar centres are beads: their light is on fewer pixels than the granular component's
    bright = {label: np.sum(drawn[label] > 0.3 * drawn[label].max()) for label in ("nucleolus_gc", "nucleolus_fc_dfc")}
    assert bright["nucleolus_fc_dfc"] < 0.5 * bright["nucleolus_gc"]


def test_nuclear_membrane_is_a_ring(scene: Scene, drawn: dict[str, NDArray[np.float32]]) -> None:
    field = drawn["nuclear_membrane"]
    rim = np.abs(scene.depth_um - 0.1) < 0.2
    interior = scene.depth_um > 1.2
    outside = (scene.cells > 0) & (scene.depth_um < -1.2)
    assert per_area(field, rim) > 4 * per_area(field, interior)
    assert per_area(field, outside) < 0.05 * per_area(field, interior)


def test_er_reaches_less_far_than_cytoplasm_and_marks_the_envelope(
    scene: Scene, drawn: dict[str, NDArray[np.float32]]
) -> None:
    far = (scene.cells > 0) & (scene.depth_um < -4)
    assert share(drawn["er"], far) < share(drawn["cytoplasmic"], far)
    rim = np.abs(scene.depth_um) < 0.2
    inside = scene.depth_um > 1
    assert per_area(drawn["er"], rim) > 2 * per_area(drawn["er"], inside)


@pytest.mark.parametrize(("label", "radius_um"), [("golgi", 6.0), ("centrosome", 1.5)])
def test_golgi_and_centrosome_lie_at_one_place_per_cell(
    label: str, radius_um: float, scene: Scene, drawn: dict[str, NDArray[np.float32]]
) -> None:
    y, x = np.indices(scene.shape)
    poles = scene.centrosomes
    near = np.hypot(y - scene.per_cell(poles[:, 0]), x - scene.per_cell(poles[:, 1])) < radius_um / scene.pixel_um
    assert share(drawn[label], near & (scene.cells > 0)) > 0.75


def test_mitochondria_are_elongated_and_vesicles_are_round(scene: Scene, drawn: dict[str, NDArray[np.float32]]) -> None:
    def elongation(field: NDArray[np.float32]) -> float:
        """Median ratio of the axes of bright pieces of at least 8 px."""
        pieces, _ = ndimage.label(field > 0.25 * np.quantile(field, 0.998))
        ratios = []
        for number, window in enumerate(ndimage.find_objects(pieces), start=1):
            y, x = np.nonzero(pieces[window] == number)
            if len(y) >= 8:
                small, large = np.linalg.eigvalsh(np.cov(y, x) + np.eye(2) / 12)
                ratios.append(np.sqrt(large / small))
        return float(np.median(ratios))

    assert elongation(drawn["mitochondria"]) > 1.15 * elongation(drawn["vesicles"])


def test_membrane_light_lines_the_borders(scene: Scene, drawn: dict[str, NDArray[np.float32]]) -> None:
    edge = scene.edge_um < 0.4
    middle = (scene.cells > 0) & (scene.edge_um > 2)
    assert per_area(drawn["membrane"], edge) > 2.5 * per_area(drawn["membrane"], middle)
    assert per_area(drawn["cytoplasmic"], edge) < per_area(drawn["cytoplasmic"], middle)


def test_filaments_are_lines(scene: Scene) -> None:
    """Second derivatives along and across a line differ: eigenvalues of the Hessian at bright pixels."""

    def lineness(field: NDArray[np.float32]) -> float:
        smooth = ndimage.gaussian_filter(field, 1.0)
        dy, dx = np.gradient(smooth)
        (dyy, dyx), (_, dxx) = np.gradient(dy), np.gradient(dx)
        root = np.sqrt((dyy - dxx) ** 2 / 4 + dyx**2)
        across, along = (dyy + dxx) / 2 - root, (dyy + dxx) / 2 + root
        bright = (smooth > np.quantile(smooth, 0.95)) & (scene.edge_um > 1)
        return float(np.median(1 - np.abs(along[bright]) / np.abs(across[bright])))

    rng = np.random.default_rng(7)
    tubes, fibres = (PATTERNS["cytoskeleton"](scene, Traits(0.5, 0.2, 0.5, kind), rng) for kind in (0.1, 0.9))
    round_spots = PATTERNS["vesicles"](scene, MIDDLE, rng)
    assert lineness(tubes) > lineness(round_spots) + 0.1
    assert lineness(fibres) > lineness(round_spots) + 0.1


def test_focal_adhesions_lie_near_the_rim(scene: Scene, drawn: dict[str, NDArray[np.float32]]) -> None:
    rim = (scene.cells > 0) & (scene.edge_um < 3.5)
    area = np.mean(rim[scene.cells > 0])
    assert share(drawn["focal_adhesions"], rim) > min(1.25 * area, 0.9)


def test_mitotic_cells_lose_what_mitosis_dissolves(scene: Scene) -> None:
    mitotic = scene.per_cell(scene.mitotic)
    label = int(np.argmax(np.where(scene.mitotic, np.bincount(scene.cells.ravel(), minlength=scene.n_cells + 1), 0)))
    own = scene.cells == label
    assert mitotic[own].all()
    ring = draw_pattern("nuclear_membrane", scene, MIDDLE, np.random.default_rng(1))
    bound = draw_pattern("chromatin", scene, MIDDLE, np.random.default_rng(1))
    assert np.corrcoef(ring[own], scene.height[own])[0, 1] > 0.99
    assert bound[own & (scene.nuclei > 0)].sum() > 0.9 * bound[own].sum()


def test_a_protein_is_its_parts_with_cells_that_differ(scene: Scene) -> None:
    for protein in make_proteins(CLASSES[:1], 3, seed=0):
        field = draw_protein(scene, protein, np.random.default_rng(0))
        nuclei = [label for label in np.unique(scene.nuclei)[1:] if np.sum(scene.nuclei == label) > 500]
        means = ndimage.mean(field, scene.nuclei, nuclei)
        assert field.min() >= 0
        assert np.std(np.log(means)) > 0.05
        assert per_area(field, scene.nuclei > 0) > 1.5
