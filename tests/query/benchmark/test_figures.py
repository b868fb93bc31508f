"""Figures of a grid: their numbers are those that were measured, and what they show is named in them."""

import csv
import math
import re
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from locatlas.errors import InputError
from locatlas.query.benchmark.figures_by_fraction import _bars, draw_by_fraction
from locatlas.query.benchmark.figures_by_k import draw_by_k
from locatlas.query.benchmark.figures_confusion import draw_confusion
from locatlas.query.benchmark.figures_differences import draw_differences
from locatlas.query.benchmark.figures_page import Page
from locatlas.query.benchmark.figures_per_class import draw_per_class
from locatlas.query.benchmark.figures_plans import draw_plans
from locatlas.query.benchmark.figures_reliability import draw_reliability
from locatlas.query.benchmark.paired import compare_all
from locatlas.query.benchmark.published import list_published, published
from tests.query.benchmark.made_scores import CLASSES, HPA, PHOTOS, scored, summaries


def words(svg: Path) -> str:
    """What is written in a figure: matplotlib leaves the text of each label as a comment."""
    return "\n".join(re.findall(r"<!-- (.*?) -->", svg.read_text(), flags=re.DOTALL))


def rows(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_by_k_has_a_panel_for_each_rule_and_the_marks_that_fit(tmp_path: Path) -> None:
    group = summaries(
        scored(quality, level="cell", encoder=name, k=k, votes=votes)
        for name, quality in ((HPA, 0.9), (PHOTOS, 0.6))
        for k in (10, 1, 3)
        for votes in ("softmax", "uniform")
    )
    svg, png, table = draw_by_k(group, tmp_path / "a.b", published=list_published())
    assert (svg.name, png.name, table.name) == ("a.b.svg", "a.b.png", "a.b.csv")
    assert png.read_bytes().startswith(b"\x89PNG")
    text = words(svg)
    assert text.index("uniform votes") < text.index("softmax votes")
    for said in ("neighbors that vote, k", HPA, PHOTOS, "60 cells, 12 proteins, 3 classes", "published ≥ 0.796"):
        assert said in text
    assert "annotated by the authors" in text
    assert "0.822" not in text  # of heads on fields
    found = rows(table)
    assert len(found) == len(group)
    assert [int(r["k"]) for r in found] == [1, 3, 10] * 4
    means = {(one.cell.encoder, one.cell.k, one.cell.votes): one.scores["macro_f1"].mean for one in group}
    assert {(r["encoder"], int(r["k"]), r["votes"]): float(r["macro_f1"]) for r in found} == means
    assert all(float(r["macro_f1_ci95_low"]) <= float(r["macro_f1_ci95_high"]) for r in found)


def test_up_to_56_plans_are_told_apart_by_colour_or_marker() -> None:
    page = Page.of(summaries(scored(0.5, encoder=f"e{i}") for i in range(56)), [""])
    seen = {(style["color"], style["marker"], style["markerfacecolor"]) for style in page.styles.values()}
    assert len(seen) == 56


def test_frozen_plans_are_grey_and_open_where_others_are_fine_tuned() -> None:
    frozen, tuned = (summaries([scored(0.5, objective=objective)])[0] for objective in ("frozen", "supervised"))
    both = Page.of([frozen, tuned], [""])
    assert (both.style(frozen)["color"], both.style(frozen)["markerfacecolor"]) == ("0.35", "white")
    alone = Page.of([frozen], [""])
    assert both.style(tuned)["color"] == alone.style(frozen)["color"] == alone.style(frozen)["markerfacecolor"]


def test_by_k_of_many_k_has_ticks_that_can_be_read(tmp_path: Path) -> None:
    group = summaries(scored(0.8, k=k) for k in range(1, 41))
    text = words(draw_by_k(group, tmp_path / "many")[0]).splitlines()
    assert {"1", "2", "5", "10", "20"} <= set(text)
    assert "37" not in text


def test_fractions_have_the_frozen_baseline_and_the_marks_of_heads(tmp_path: Path) -> None:
    group = summaries(
        scored(quality * fraction, objective=objective, fraction=fraction, seed=seed, protocol="protein-holdout",
               classifier=classifier, k=k, votes=k and "uniform")
        for objective, quality in (("frozen", 0.7), ("supervised", 0.9), ("dino", 0.75))
        for fraction in (0.5, 1.0)
        for seed in (0, 1)
        for classifier, k in (("knn", 10), ("linear", None))
    )  # fmt: skip
    marks = [published("frozen-hpa-fov"), published("finetuned-hpa-fov")]
    svg, _, table = draw_by_fraction(group, tmp_path / "f", published=marks)
    text = words(svg)
    for said in (
        "frozen (baseline)", "fine-tuned with labels", "fine-tuned by DINO", "10-NN, uniform votes", "linear head",
        "published 0.822 ± 0.007", "published 0.860 ± 0.013", "SD over 2 seeds", HPA,
    ):  # fmt: skip
        assert said in text
    found = rows(table)
    assert len(found) == 2 * 3 * 2
    assert {r["line"] for r in found if r["objective"] == "frozen"} == {"frozen (baseline)"}
    first = next(one for one in group if one.cell.objective == "supervised" and one.cell.fraction == 0.5)
    row = next(r for r in found if (r["objective"], r["fraction"], r["classifier"]) == ("supervised", "0.5", "knn"))
    assert float(row["macro_f1_sd"]) == first.scores["macro_f1"].sd


def test_a_point_of_one_seed_beside_others_of_several_has_no_bar(tmp_path: Path) -> None:
    several = [scored(0.7, fraction=1.0, seed=seed, protocol="protein-holdout") for seed in (0, 1)]
    group = summaries([scored(0.6, fraction=0.5, seed=0, protocol="protein-holdout"), *several])
    below = _bars(group, sd=True)
    assert math.isnan(below[0])
    assert below[1] == group[1].scores["macro_f1"].sd
    svg, _, table = draw_by_fraction(group, tmp_path / "f")
    assert "SD over 1 to 2 seeds" in words(svg)
    assert [r["macro_f1_sd"] == "" for r in rows(table)] == [True, False]


def test_marks_stand_only_where_their_classifier_does(tmp_path: Path) -> None:
    near = summaries([scored(0.8), scored(0.6, mapping="replicate")])
    assert "published" not in words(draw_plans(near, tmp_path / "n", published=list_published())[0])
    heads = summaries([scored(0.8, classifier="mlp", k=None, votes=None)])
    assert "published 0.8221 ± 0.0062" in words(draw_plans(heads, tmp_path / "h", published=list_published())[0])


def test_plans_side_by_side_name_the_orders_of_a_random_one(tmp_path: Path) -> None:
    group = summaries([
        scored(0.9), scored(0.5, mapping="random", mapping_seed=0), scored(0.5, mapping="random", mapping_seed=1),
        scored(0.6, mapping="replicate"),
    ])  # fmt: skip
    svg, _, table = draw_plans(group, tmp_path / "p")
    text = words(svg)
    assert "random (2 orders)" in text
    assert f"{HPA}, separate; 5-NN, uniform votes" in text
    assert [r["line"] for r in rows(table)] == ["natural", "random (2 orders)", "replicate"]
    assert [(int(r["n_seeds"]), int(r["n_orders"])) for r in rows(table)] == [(1, 1), (1, 2), (1, 1)]


def test_differences_stand_with_their_p(tmp_path: Path) -> None:
    cells = [scored(0.95), scored(0.4, mapping="random", mapping_seed=0), scored(0.9, mapping="replicate")]
    pairs = compare_all(cells, n_replicates=20, n_permutations=200).pairs
    svg, _, table = draw_differences(pairs, summaries(cells), tmp_path / "d")
    text = words(svg)
    assert "natural less random" in text
    assert f"{HPA}, separate; 5-NN" in text
    assert "p &lt; 0.05 after Holm's correction" in text or "p < 0.05 after Holm's correction" in text
    assert (
        f"p = {next(p.p_holm for p in pairs if p.second.count('replicate') and p.first.count('natural')):.3f}" in text
    )
    assert [float(r["difference"]) for r in rows(table)] == [pair.difference for pair in pairs]


def test_classes_stand_by_size_with_rows_and_groups(tmp_path: Path) -> None:
    one, other = scored(0.9, n_groups=13), scored(0.5, n_groups=13, mapping="random", mapping_seed=0)
    svg, _, table = draw_per_class(summaries([one, other]), tmp_path / "c")
    text = words(svg)
    assert "er  25 · 5" in text
    assert text.index("er  25 · 5") < text.index("golgi  20 · 4") < text.index("nucleus  20 · 4")
    found = {(r["line"].split(", ")[1], r["class"]): float(r["f1"]) for r in rows(table)}
    assert [found["natural", name] for name in CLASSES] == pytest.approx(one.per_class_f1)
    assert [found["random", name] for name in CLASSES] == pytest.approx(other.per_class_f1)


def test_more_plans_than_can_be_told_apart_are_in_the_table_only(tmp_path: Path) -> None:
    group = summaries(scored(0.5, encoder=f"e{i}") for i in range(11))
    svg, _, table = draw_per_class(group, tmp_path / "c")
    assert "the first 8 of 11 plans" in words(svg)
    assert "e8" not in words(svg)
    assert len({r["line"] for r in rows(table)}) == 11


def test_the_matrix_is_that_of_the_first_seed(tmp_path: Path) -> None:
    cells = [scored(0.7, seed=seed) for seed in (0, 1)]
    svg, _, table = draw_confusion(summaries(cells)[0], tmp_path / "m")
    matrix = np.zeros((3, 3), int)
    for row in rows(table):
        matrix[CLASSES.index(row["annotated"]), CLASSES.index(row["predicted"])] = int(row["n"])
    assert np.array_equal(matrix, cells[0].confusion[:, :3])
    text = words(svg)
    assert "seed 0" in text
    assert "(none)" not in text  # every row was given a class
    assert str(matrix[0, 0]) in text.splitlines()


def test_bins_of_few_rows_are_not_drawn(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pages: list[Page] = []
    monkeypatch.setattr(Page, "finish", lambda page, *_: pages.append(page))
    (one,) = group = summaries([scored(0.8, n_groups=30)])
    draw_reliability(group, tmp_path / "r")
    confidence = one.cells[0].confidence
    assert confidence is not None
    enough = confidence[0] >= 10
    assert 0 < enough.sum() < (confidence[0] > 0).sum()
    (axes,) = pages[0].panels.values()
    assert axes.lines[0].get_xdata() == pytest.approx(confidence[1][enough] / confidence[0][enough])


def test_reliability_tells_the_calibration_error(tmp_path: Path) -> None:
    (one,) = group = summaries([scored(0.8, n_groups=60)])
    svg, _, table = draw_reliability(group, tmp_path / "r")
    assert f"ECE {one.ece:.3f}" in words(svg)
    assert "fewer than 10 rows" in words(svg)
    assert sum(int(r["n"]) for r in rows(table)) == 300
    gap = sum(int(r["n"]) * abs(float(r["accuracy"]) - float(r["confidence"])) for r in rows(table)) / 300
    assert gap == pytest.approx(one.ece)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda heads, multi, stem: draw_by_k(heads, stem), "no figure"),
        (lambda heads, multi, stem: draw_reliability(multi, stem), "no figure"),
        (lambda heads, multi, stem: draw_confusion(multi[0], stem), "multi-label predictions have none"),
        (lambda heads, multi, stem: draw_differences([], heads, stem), "no figure"),
        (lambda heads, multi, stem: draw_plans([], stem), "no figure"),
    ],
)
def test_what_cannot_be_drawn_is_told(draw: Callable[..., list[Path]], message: str, tmp_path: Path) -> None:
    heads = summaries([scored(0.8, classifier="linear", k=None, votes=None)])
    with pytest.raises(InputError, match=message):
        draw(heads, summaries([scored(0.8, labels="multi")]), tmp_path / "x")
    assert list(tmp_path.iterdir()) == []


def test_the_same_measurements_make_the_same_files(tmp_path: Path) -> None:
    group = summaries([scored(0.8), scored(0.6, mapping="replicate")])
    first, second = (draw_plans(group, tmp_path / name) for name in ("a", "b"))
    assert [path.read_bytes() for path in first] == [path.read_bytes() for path in second]
