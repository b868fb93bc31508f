"""The main job on real images: HPA cells and fields, OpenCell fields, HeLa features. Skips where they are absent."""

import csv
import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import CliRunner
from sklearn.model_selection import StratifiedKFold
from sklearn.neighbors import KNeighborsClassifier

from locatlas.cli import group

WEIGHTS = "weights/vit_small_patch14_dinov2.fp16.safetensors"


def ask(*arguments: object) -> Any:
    done = CliRunner().invoke(group, [*(str(a) for a in arguments), "--json"])
    assert done.exit_code == 0, (done.output, done.exception)
    return json.loads(done.stdout)


def test_opencell_fields_are_indexed_and_asked(shared_data: Path, tmp_path: Path) -> None:
    atlas = tmp_path / "atlas"
    found = ask("index", shared_data / "opencell", "--dataset", "opencell", "--atlas", atlas)
    assert (found["fovs"], found["embedded"], found["quarantined"]) == (21, 21, [])
    hits = ask("neighbors", "--atlas", atlas, "--protein", "CCNB1", "-k", 20)["hits"]
    assert len({hit["protein"] for hit in hits} - {"CCNB1"}) == 20
    assert next(hit["localizations"] for hit in hits if hit["protein"] == "ACTB") == ["cytoskeleton", "membrane"]
    sweep = ask("sweep", "--atlas", atlas, "--labels", "multi", "--ks", "1,5")
    assert (sweep["n"], sweep["n_groups"]) == (21, 21)


def test_kaggle_fields_have_no_protein_to_group_by_and_locatlas_says_so(shared_data: Path, tmp_path: Path) -> None:
    atlas = tmp_path / "atlas"
    found = ask("index", shared_data / "hpa_kaggle_fovs", "--dataset", "hpa-kaggle", "--atlas", atlas)
    assert (found["fovs"], found["quarantined"]) == (30, [])
    done = CliRunner().invoke(group, ["sweep", "--atlas", str(atlas)])
    assert "group 'protein' is unknown for all 30 images" in str(done.exception)
    assert ask("sweep", "--atlas", atlas, "--group", "fov", "--labels", "multi", "--ks", "1,3")["n"] == 30


def test_hpa_files_with_site_names_are_cells_and_a_field(shared_data: Path, tmp_path: Path) -> None:
    atlas, table = tmp_path / "atlas", shared_data / "opencell/tables/hpa_subcellular_location.tsv"
    arguments = ("--dataset", "hpa", "--atlas", atlas, "--option", f"subcellular={table}")
    found = ask("index", shared_data / "hpa_named", *arguments)
    assert (found["fovs"], found["cells"], found["quarantined"]) == (1, 6, [])
    hits = ask("neighbors", "--atlas", atlas, "--protein", "A4GALT", "-k", 6, "--exclude", "none")["hits"]
    assert {(hit["protein"], *hit["localizations"]) for hit in hits} == {("A4GALT", "Mitochondria")}


def test_the_murphy_features_are_swept_as_others_measured_them(shared_data: Path, tmp_path: Path) -> None:
    """862 HeLa images, 90 features, ten classes: 5-NN is right for 0.74 to 0.75 in ten folds on z-scored columns.

    Ours is right for 0.014 more: ties among five votes are frequent, and are not broken by the name of the class.
    """
    with np.load(shared_data / "embeddings" / "hela2d_slf7dna.npz") as file:
        features, labels = file["features"], file["labels"].astype(str)
    assert features.shape == (862, 90)
    spread = features.std(axis=0)
    vectors = (features - features.mean(axis=0)) / np.where(spread > 0, spread, 1)
    ids = np.array([f"image{i:03d}" for i in range(862)])
    np.savez(tmp_path / "hela.npz", ids=ids, vectors=vectors.astype(np.float32), localizations=labels)
    atlas = tmp_path / "atlas"
    done = ask("import-embeddings", tmp_path / "hela.npz", "--atlas", atlas, "--name", "slf7dna", "--dataset", "hela")
    assert (done["imported"], done["dim"]) == (862, 90)
    how = ("--group", "fov", "--protocol", "kfold", "--folds", 10, "--ks", 5)
    right = []
    for seed in range(3):
        found = ask("sweep", "--atlas", atlas, *how, "--seed", seed)
        assert (found["n"], found["n_groups"], len(found["classes"])) == (862, 862, 10)
        right.append(found["results"][0]["accuracy"])
    peers = [murphy_peer(vectors, labels, seed) for seed in range(3)]
    by_name, by_nearness = np.mean(peers, axis=0)
    assert by_name == pytest.approx(0.75, abs=0.01)  # scikit-learn: a tie goes to the first class by name
    assert np.mean(right) == pytest.approx(by_nearness, abs=0.01)  # ours: to the class whose member is nearest


def murphy_peer(vectors: Any, labels: Any, seed: int) -> tuple[float, float]:
    """Share right of scikit-learn's 5-NN in ten folds of its own, and with ties going to the nearest class."""
    right = nearest = 0
    for train, test in StratifiedKFold(10, shuffle=True, random_state=seed).split(vectors, labels):
        peer = KNeighborsClassifier(5, metric="cosine", algorithm="brute").fit(vectors[train], labels[train])
        right += int((peer.predict(vectors[test]) == labels[test]).sum())
        for row, target in zip(peer.kneighbors(vectors[test], return_distance=False), labels[test], strict=True):
            counts = Counter(labels[train][row].tolist())  # in the order of nearness, which most_common keeps
            nearest += counts.most_common(1)[0][0] == target
    return right / len(labels), nearest / len(labels)


@pytest.mark.slow
def test_the_published_baseline_of_the_cells_is_reproduced(shared_data: Path, tmp_path: Path) -> None:
    """485 HPA cells, protein channel replicated, DINOv2 ViT-S/14, own composite left out: README of the data."""
    cells, atlas = shared_data / "hpa_cells", tmp_path / "atlas"
    name = "vit_small_patch14_dinov2.imgfocus"
    ask(
        "encoders", "add", name, "--weights", shared_data / WEIGHTS, "--arch", "vit_small_patch14_dinov2",
        "--slots", "microtubules,protein,nucleus", "--intensity", "unit", "--imagenet-norm",
    )  # fmt: skip
    with (cells / "labels.csv").open(newline="") as f, (tmp_path / "cells.csv").open("w", newline="") as out:
        writer = csv.writer(out)
        writer.writerow(["id", "path_protein", "localizations", "group_composite", "level"])
        for row in csv.DictReader(f):
            path = cells / f"{row['cell_id']}_green.png"
            writer.writerow([row["cell_id"], path, row["location"], row["group"], "cell"])
    ask(
        "index", tmp_path / "cells.csv", "--dataset", "manifest", "--root", cells, "--atlas", atlas, "--encoder", name,
        "--channels", "replicate", "--stains", "protein", "--precision", "fp32",
    )  # fmt: skip
    found = ask("sweep", "--atlas", atlas, "--group", "composite", "--ks", "1,5,9,15,30")
    published = {
        1: (0.649, 0.473, 0.471),
        5: (0.695, 0.470, 0.460),
        9: (0.701, 0.458, 0.450),
        15: (0.695, 0.458, 0.448),
        30: (0.685, 0.389, 0.380),
    }
    for result in found["results"]:
        measured = (result["accuracy"], result["balanced_accuracy"], result["macro_f1"])
        assert measured == pytest.approx(published[result["k"]], abs=0.01)
    low, high = found["results"][2]["macro_f1_ci95"]
    assert (low, high) == pytest.approx((0.40, 0.48), abs=0.02)
    hits = ask("neighbors", "--atlas", atlas, "--id", "manifest/mixed_img0_0", "-k", 5)["hits"]
    nearest = ["mixed_img191_2", "mixed_img2_4", "mixed_img227_1", "mixed_img13_1", "mixed_img10_6"]
    assert [hit["id"] for hit in hits if "mixed_img0_" not in hit["id"]] == [f"manifest/{i}" for i in nearest][
        : len(hits)
    ]
