"""Grids as TOML: those that come with locatlas, and what is refused, by file and key."""

import dataclasses
import json
from pathlib import Path

import pytest

from locatlas.errors import InputError, UnknownNameError
from locatlas.models import registry
from locatlas.models.channels import slot_permutation
from locatlas.query.benchmark.cell import Cell
from locatlas.query.benchmark.expand import Meant, cells_of, variants_of
from locatlas.query.benchmark.grid import list_grids, load_grid
from locatlas.query.benchmark.run import planned
from locatlas.query.benchmark.settings import FINETUNE, SETTINGS
from locatlas.query.benchmark.tuning import finetune_request

SMALL = 'title = "t"\n[[encoders]]\nname = "e"\n[measure]\nprotocols = ["protein-out"]\n'
TUNED = SMALL.replace("protein-out", "protein-holdout") + 'objectives = ["supervised"]\n'
GRADED = SMALL + 'labels = ["multi"]\n'


def written(folder: Path, text: str) -> Path:
    path = folder / "mine.toml"
    path.write_text(text)
    return path


@pytest.mark.parametrize(
    "name", ["paper-fov-frozen", "paper-channel-plans", "paper-finetune-fractions", "paper-single-cell-k"]
)
def test_grids_of_the_paper_name_encoders_that_exist_and_say_when_they_mislead(name: str) -> None:
    assert name in list_grids()
    grid = load_grid(name)
    known = {spec.name for spec in registry.list_encoders()}
    assert {entry.name for entry in grid.encoders} <= known
    assert grid.question
    assert grid.caution
    assert sum(map(len, planned(grid)[0].values()))


def test_a_small_grid_has_the_defaults_of_the_documentation(tmp_path: Path) -> None:
    grid = load_grid(written(tmp_path, SMALL))
    assert (grid.name, grid.levels, grid.labels, grid.classifiers, grid.fractions) == (
        "mine", ("fov",), ("single",), ("knn",), (1.0,)
    )  # fmt: skip
    work, left_out = planned(grid)
    assert [len(cells) for cells in work.values()] == [6]  # k of 1, 3, 5, 10, 20, 50; nothing random
    assert not left_out


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (SMALL.replace('title = "t"', ""), r"mine\.toml: title is missing"),
        (SMALL + "ks = [0]", r"mine\.toml, \[measure\]: ks holds 0: numbers from 1 on needed"),
        (SMALL + "ks = [1.5]", r"\[measure\]: ks holds 1\.5"),
        (SMALL + "fractions = [1.5]", r"fractions holds 1\.5: numbers in \(0, 1\] needed"),
        (SMALL.replace("protein-out", "loo"), r"protocols holds 'loo': protein-out, protein-kfold"),
        (SMALL + 'votings = ["uniform"]', r"\[measure\]: unknown key 'votings'; known: classifiers, compare_k"),
        (SMALL + "[settings]\nfold = 3", r"\[settings\]: unknown key 'fold'; known: .*folds"),
        (SMALL + '[settings]\nfolds = "3"', r"\[settings\]: folds = '3': another type needed"),
        (SMALL + "compare_k = 7", r"compare_k = 7 is none of ks"),
        (SMALL + 'objectives = ["dino"]', r"objectives dino need protocol protein-holdout"),
        (SMALL.replace("protein-out", "transfer"), r"protocol transfer needs reference and query"),
        (SMALL.replace('name = "e"', 'name = "e"\nmapping = "natural"'), r"\[\[encoders\]\] 1: unknown key 'mapping'"),
        ('title = "t"\n[measure]\nprotocols = ["protein-out"]\n', r"no \[\[encoders\]\]"),
        (SMALL + "ks = []", r"\[measure\]: ks is empty"),
        (SMALL + "seeds = []", r"\[measure\]: seeds is empty"),
        (SMALL + "levels = []", r"\[measure\]: levels is empty"),
        (SMALL.replace('name = "e"', 'name = "e"\nmapping_seeds = []'), r"\[\[encoders\]\] 1: mapping_seeds is empty"),
        *(
            (SMALL + f'labels = ["multi"]\n[settings]\n{key} = {value}', rf"\[settings\]: {key} = .*needed")
            for key, value in (
                ("grade_weights", '"1,0.5"'),
                ("grade_weights", '"a,b,c"'),
                ("grade_weights", '"1,-5,9"'),
                ("min_groups", "-1"),
                ("min_groups", "true"),
                ("hold_out", "2"),
                ("hold_out", "nan"),
                ("folds", "1"),
                ("validation", "-1"),
                ("overlap", '"zz"'),
                ("label_source", '"foo"'),
                ("map_labels", '"a:b"'),
                ("threshold", "1.5"),
                ("temperature", "0"),
                ("temperature", "inf"),
                ("group", '""'),
                ("where", '["protein"]'),
                ("where", "[3]"),
            )
        ),
        (TUNED + '[finetune]\nhead = "foo"', r"\[finetune\]: head = 'foo': linear, mlp, wide needed"),
        (TUNED + "[finetune]\nlr = -1.0", r"\[finetune\]: lr = -1.0: a number above 0 needed"),
        (TUNED + "[finetune]\nsteps = 3\nepochs = 2", r"objective supervised: .*in epochs or in steps, not in both"),
        (TUNED + 'levels = ["protein"]', r"objective supervised trains on images: level fov or cell needed"),
        (
            TUNED.replace("supervised", "dino") + '[settings]\nmap_labels = "hpa:opencell"',
            r"map_labels holds out other",
        ),
        (
            TUNED.replace("supervised", "dino") + 'levels = ["cell"]\n[settings]\nlabel_source = "annotated"',
            r"label_source = 'annotated' holds out other groups than objective dino does",
        ),
        (SMALL + '[settings]\nlabel_source = "annotated"', r"label_source = 'annotated' is of cells alone"),
        (GRADED + 'levels = ["protein"]\n[settings]\ngrade_weights = "1,0.5,0"', r"level protein have no grades"),
        (
            GRADED + 'levels = ["cell"]\n[settings]\ngrade_weights = "1,0.5,0"\nlabel_source = "annotated"',
            r"cells' own annotations have no grades",
        ),
        (SMALL + '[settings]\ngrade_weights = "1,0.5,0"', r"grade_weights are of labels multi and classifier knn"),
        ("title = ", r"mine\.toml: not TOML"),
        (SMALL.replace('title = "t"', 'title = "t"\npublished = ["x"]'), r"published holds 'x': frozen-hpa-fov"),
    ],
)
def test_what_no_grid_can_mean_is_refused_by_file_and_key(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        load_grid(written(tmp_path, text))


def test_a_grid_that_does_not_exist_is_refused_with_those_that_do(tmp_path: Path) -> None:
    with pytest.raises(UnknownNameError, match="paper-channel-plans"):
        load_grid("paper-channel")
    with pytest.raises(InputError, match="cannot be read"):
        load_grid(tmp_path / "none.toml")


def test_what_makes_no_sense_is_left_out_and_counted(tmp_path: Path) -> None:
    text = SMALL.replace(
        'name = "e"', 'name = "e"\nmappings = ["natural", "random", "replicate"]\npasses = ["joint", "separate"]'
    )
    text = text.replace('["protein-out"]', '["protein-out", "protein-kfold", "protein-holdout"]')
    text += 'classifiers = ["knn", "linear"]\nks = [5]\nfractions = [0.5, 1.0]\nseeds = [0, 1]\n'
    text += 'objectives = ["frozen", "dino"]\n'
    grid = load_grid(written(tmp_path, text))
    variants, left_out = variants_of(grid)
    # natural joint and separate, random in three orders joint and separate, replicate separate
    assert len(variants) == 2 + 6 + 1
    assert left_out == {"mapping replicate has no joint pass: each channel takes all slots": 1}
    cells, more = cells_of(grid, variants[0])
    # protein-out: k-NN once; kfold: k-NN at 1.0, heads at both, two seeds; holdout: all
    assert len(cells) == 1 + 2 + 2 * 2 + 2 * 2 * 2 * 2
    assert sum(more.values()) == 3 * 2**4 - (2 + 2 + 4 + 16)  # seeds of protein-out count twice before they are one


def test_other_encoders_take_all_plans_of_the_grid() -> None:
    grid = load_grid("paper-channel-plans").with_encoders(["a", "b"])
    assert [entry.name for entry in grid.encoders] == ["a", "b"]
    assert grid.encoders[0].mappings == ("natural", "random", "replicate")


def test_the_grid_of_the_documentation_can_be_measured_and_all_settings_are_told(tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[3] / "docs" / "benchmarks.md").read_text()
    grid = load_grid(written(tmp_path, page.partition("```toml\n")[2].partition("```")[0]))
    assert sum(map(len, planned(grid)[0].values()))
    settings, columns = page.partition("| setting |")[2], page.partition("Columns of the tidy table")[2]
    assert [name for name in SETTINGS if f"`{name}`" not in settings] == []
    assert [name for name in FINETUNE if f"`{name}`" not in settings] == []
    assert [field.name for field in dataclasses.fields(Cell) if f"`{field.name}`" not in columns] == []
    assert [name for name in list_grids() if f"| `{name}` |" not in page] == []


def test_imported_vectors_are_measured_once_and_their_plans_are_counted() -> None:
    grid = load_grid("paper-channel-plans").with_encoders(["mine", "other"])
    variants, left_out = variants_of(grid, {("mine", "fov"): Meant("mine", imported=True)})
    mine = [one for one in variants if one.name == "mine"]
    assert [(one.mapping, one.mapping_seed, one.passes, one.stains) for one in mine] == [(None, None, None, ())]
    assert len(variants) == 1 + (2 + 6 + 1)
    # three mappings by two passes, of which one is measured
    assert left_out["imported vectors have no channel plan: they are measured once"] == 3 * 2 - 1
    assert {one.mapping for one in cells_of(grid, mine[0])[0]} == {None}


def test_imported_vectors_are_not_fine_tuned() -> None:
    grid = load_grid("paper-finetune-fractions")
    variants, _ = variants_of(grid, {(grid.encoders[0].name, "fov"): Meant("mine", imported=True)})
    cells, left_out = cells_of(grid, variants[0])
    assert {one.objective for one in cells} == {"frozen"}
    assert left_out["imported vectors have no encoder that could be fine-tuned"] == 2 * 2 * 5 * 3


def test_filters_with_commas_stay_as_they_are(tmp_path: Path) -> None:
    text = SMALL + '[settings]\nwhere = ["protein!=P1,x", "dataset=a"]\n'
    grid = load_grid(written(tmp_path, text))
    cell = cells_of(grid, variants_of(grid)[0][0])[0][0]
    assert cell.setting("where") == ("protein!=P1,x", "dataset=a")
    assert Cell.from_dict(json.loads(json.dumps(cell.to_dict()))) == cell


@pytest.mark.parametrize(("objective", "head"), [("supervised", "mlp"), ("dino", "linear")])
def test_a_head_is_for_trainings_with_labels_alone(objective: str, head: str) -> None:
    request = finetune_request(
        objective=objective, level="cell", labels="single", fraction=0.5, seed=2, finetune={"head": "mlp", "steps": 3},
        settings={"where": ("protein!=P1,x",), **({"label_source": "annotated"} if objective == "supervised" else {})},
    )  # fmt: skip
    assert (request.head, request.steps, request.where) == (head, 3, ("protein!=P1,x",))
    assert request.label_source == ("annotated" if objective == "supervised" else "inherited")


GRID_OF_ORDERS = """
title = "Orders"

[[encoders]]
name = "mine"
mappings = ["random"]
mapping_seeds = [0, 1, 2, 3, 4, 5, 6, 7]

[measure]
protocols = ["protein-out"]
"""


def test_orders_of_a_random_plan_that_are_the_same_are_measured_once_and_told(tmp_path: Path) -> None:
    (tmp_path / "orders.toml").write_text(GRID_OF_ORDERS)
    grid = load_grid(str(tmp_path / "orders.toml"))
    slots = ("microtubules", "protein", "nucleus")
    drawn = [slot_permutation(slots, seed) for seed in range(8)]
    assert len(set(drawn)) < 8  # three slots have six orders
    variants, left_out = variants_of(grid, {("mine", "fov"): Meant("mine", slots=slots)})
    kept = [slot_permutation(slots, one.mapping_seed or 0) for one in variants]
    assert kept == list(dict.fromkeys(drawn))
    assert sum(left_out.values()) == 8 - len(kept)
    assert len(variants_of(grid)[0]) == 8  # of an encoder that is not known nothing can be told
