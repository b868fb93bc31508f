"""Every command on a small atlas of made images: documents, exit codes, one clear line for bad input."""

import shlex
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from locatlas.cli import group, main
from locatlas.indexer.synthetic import make_collection
from tests.cli.asking import document, run

CLASSES = ("nucleoplasm", "cytoplasmic", "membrane")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An atlas over 12 + 6 made fields."""
    folder = tmp_path_factory.mktemp("made")
    make_collection(
        folder / "images",
        classes=CLASSES,
        proteins_per_class=2,
        fovs_per_protein=2,
        hpa_proteins_per_class=2,
        hpa_fovs_per_protein=1,
        opencell_px=128,
        hpa_px=128,
        workers=1,
    )
    for dataset in ("opencell", "hpa"):
        done = run("index", folder / "images" / dataset, "--atlas", folder / "atlas", "--dataset", dataset)
        assert done.exit_code == 0, done.output
    return folder


def proteins(made: Path) -> list[str]:
    import locatlas

    return sorted(set(locatlas.open(made / "atlas").view().column("protein")))


def test_a_second_index_run_does_nothing_and_says_so(made: Path) -> None:
    found = document("index", made / "images" / "opencell", "--atlas", made / "atlas", "--dataset", "opencell")
    assert (found["embedded"], found["skipped"], found["quarantined"]) == (0, 12, [])
    assert (found["fovs"], found["cells"]) == (18, 0)


@pytest.mark.parametrize("command", ["embed", "reembed"])
def test_where_the_time_went_is_told_if_asked_for(made: Path, command: str) -> None:
    for option, told in ((), False), (("--profile-time",), True):
        assert (document(command, "--atlas", made / "atlas", *option)["profile"] is not None) == told


def test_neighbors_of_a_protein_are_not_its_own_images(made: Path) -> None:
    protein = proteins(made)[0]
    found = document("neighbors", "--atlas", made / "atlas", "--protein", protein, "-k", 5)
    assert found["exact"] is True
    assert [hit["rank"] for hit in found["hits"]] == [1, 2, 3, 4, 5]
    assert protein not in {hit["protein"] for hit in found["hits"]}
    similarities = [hit["similarity"] for hit in found["hits"]]
    assert similarities == sorted(similarities, reverse=True)
    everything = document("neighbors", "--atlas", made / "atlas", "--protein", protein, "-k", 1, "--exclude", "none")
    assert everything["hits"][0]["protein"] == protein


def test_neighbors_by_protein_are_proteins(made: Path) -> None:
    names = proteins(made)
    found = document("neighbors", "--atlas", made / "atlas", "--protein", names[0], "--level", "protein", "-k", 5)
    assert sorted(hit["id"] for hit in found["hits"]) == names[1:]


def test_a_new_image_that_is_in_the_atlas_is_itself_and_excluded_as_such(made: Path) -> None:
    tiff = sorted((made / "images" / "opencell").rglob("*_proj.tif"))[3]
    asked = ("--atlas", made / "atlas", "--image", tiff, "--channels", "nucleus,protein", "-k", 3)
    itself = document("neighbors", *asked, "--exclude", "none")["hits"][0]
    assert itself["id"].split("/")[1] in tiff.name
    assert itself["similarity"] == pytest.approx(1, abs=1e-5)
    for exclude in ("self", "fov", "protein"):
        hits = document("neighbors", *asked, "--exclude", exclude)["hits"]
        assert itself["id"] not in {hit["id"] for hit in hits}
    assert itself["protein"] not in {hit["protein"] for hit in hits}


def test_a_protein_never_meets_its_own_images_unless_asked_to(made: Path) -> None:
    protein = proteins(made)[0]
    for exclude in ("self", "fov", "protein"):
        found = document("neighbors", "--atlas", made / "atlas", "--protein", protein, "-k", 15, "--exclude", exclude)
        assert protein not in {hit["protein"] for hit in found["hits"]}
    found = document("neighbors", "--atlas", made / "atlas", "--protein", protein, "-k", 18, "--exclude", "dataset")
    assert found["hits"] == []


def test_two_vocabularies_in_one_vote_are_told_and_can_be_mapped(made: Path) -> None:
    asked = ("classify", "--atlas", made / "atlas", "--protein", proteins(made)[0], "-k", 5)
    assert "--map-labels hpa:opencell" in document(*asked)["notes"][0]
    mapped = document(*asked, "--map-labels", "hpa:opencell")
    assert mapped["notes"] == []
    named = {s["localization"] for item in mapped["items"] for s in item["scores"]}
    assert named <= {
        *CLASSES,
        "chromatin",
        "er",
        "golgi",
        "vesicles",
        "nuclear_punctae",
        "mitochondria",
        "cytoskeleton",
    }
    near = ("neighbors", "--atlas", made / "atlas", "--protein", proteins(made)[0], "-k", 15)
    shown = {name for hit in document(*near)["hits"] for name in hit["localizations"]}
    assert shown & {"Nucleoplasm", "Mitochondria", "Endoplasmic reticulum", "Golgi apparatus", "Cytosol"}
    hits = document(*near, "--map-labels", "hpa:opencell")["hits"]
    assert [hit["id"] for hit in hits] == [hit["id"] for hit in document(*near)["hits"]]
    assert not {name for hit in hits for name in hit["localizations"] if name[0].isupper()}
    # filters are on what is shown
    place = hits[0]["localizations"][0]
    found = document(*near[:-2], "--map-labels", "hpa:opencell", "--where", f"localizations={place}")["hits"]
    assert {place} == set.intersection(*(set(hit["localizations"]) for hit in found))
    sweep = document("sweep", "--atlas", made / "atlas", "--ks", 1, "--map-labels", "hpa:opencell", "--labels", "multi")
    assert sweep["n"] == 18


def test_a_sweep_that_has_no_interval_still_prints(made: Path) -> None:
    done = run(
        "sweep", "--atlas", made / "atlas", "--protocol", "kfold", "--folds", 6, "--ks", 1, "-w", "dataset=opencell"
    )
    assert done.exit_code == 0, (done.output, done.exception)


def test_the_groups_own_fov_and_protein_never_vote_in_a_sweep(made: Path) -> None:
    asked = (
        "sweep",
        "--atlas",
        made / "atlas",
        "--ks",
        1,
        "--group",
        "fov",
        "--labels",
        "multi",
        "-w",
        "dataset=opencell",
    )
    assert document(*asked)["excluded"] == ["id", "protein"]
    assert document(*asked, "--exclude", "fov")["excluded"] == ["id"]


def test_filters_restrict_the_answers(made: Path) -> None:
    found = document(
        "neighbors", "--atlas", made / "atlas", "--protein", proteins(made)[0], "-k", 3, "-w", "dataset=hpa"
    )
    assert {hit["id"].partition("/")[0] for hit in found["hits"]} == {"hpa"}


def test_classify_gives_shares_of_votes_with_evidence(made: Path) -> None:
    protein = proteins(made)[0]
    found = document(
        "classify",
        "--atlas",
        made / "atlas",
        "--protein",
        protein,
        "-k",
        4,
        "--weights",
        "uniform",
        "-w",
        "dataset=opencell",
    )
    assert len(found["items"]) == 3
    for item in found["items"]:
        assert len(item["neighbors"]) == 4
        for entry in item["scores"]:
            assert (entry["score"] * 4) % 1 == pytest.approx(0, abs=1e-9)


def test_sweep_draws_and_tabulates(made: Path, tmp_path: Path) -> None:
    figure, table = tmp_path / "s.svg", tmp_path / "s.csv"
    found = document(
        "sweep", "--atlas", made / "atlas", "--ks", "3,1,2", "--where", "dataset=opencell", "--labels", "multi",
        "--weights", "uniform", "--weights", "softmax", "--plot", figure, "--csv", table,
    )  # fmt: skip
    assert [(r["k"], r["weights"]) for r in found["results"]] == [
        (k, w) for w in ("uniform", "softmax") for k in (1, 2, 3)
    ]
    assert found["n"] == 12
    assert figure.read_text().lstrip().startswith("<?xml")
    assert len(table.read_text().splitlines()) == 7


def test_embed_adds_a_plan_and_switches_to_it(made: Path, tmp_path: Path) -> None:
    atlas = tmp_path / "atlas"
    shutil.copytree(made / "atlas", atlas)
    found = document("embed", "--atlas", atlas, "--passes", "separate", "--stains", "nucleus,protein")
    assert found["embedded"] == 18
    assert (found["encoder"]["dim"], found["superseded"]["fov"]["dim"]) == (384, 192)
    assert document("embed", "--atlas", atlas)["superseded"] == {}
    state = document("status", "--atlas", atlas)
    assert [(e["state"], e["embedded"], e["dim"]) for e in state["encoders"]] == [
        ("current", 18, 384),
        ("superseded", 18, 192),
    ]
    done = run("index", made / "images" / "hpa", "--atlas", atlas, "--dataset", "hpa", "--channels", "replicate")
    assert done.exit_code == 1
    assert "its fov encoder is" in str(done.exception)


def test_a_switch_is_told_with_the_command_that_goes_back_and_can_be_left_out(made: Path, tmp_path: Path) -> None:
    atlas = tmp_path / "an atlas"
    shutil.copytree(made / "atlas", atlas)

    def states() -> dict[str, str]:
        return {e["name"]: e["state"] for e in document("status", "--atlas", atlas)["encoders"]}

    embed = ("embed", "--atlas", atlas, "--encoder", "locatlas_pico.untrained")
    aside = run(*embed, "--no-switch")
    assert states() == {"locatlas_pico.synthetic": "current", "locatlas_pico.untrained": "beside"}
    assert "is current now" not in aside.stderr
    told = run("status", "--atlas", atlas).output
    assert "beside the current: vectors of 1 encoder, which --encoder FINGERPRINT asks" in told.splitlines()
    assert "superseded" not in told
    told = run(*embed)
    assert states() == {"locatlas_pico.synthetic": "superseded", "locatlas_pico.untrained": "current"}
    line = " ".join(told.stderr.split())
    assert "at level fov locatlas_pico.untrained (natural/joint, fp32, " in line
    assert " is current now, where locatlas_pico.synthetic (natural/joint, fp32, " in line
    command = shlex.split(line.split("`")[1])
    assert command[:4] == ["locatlas", "reembed", "--atlas", str(atlas)]
    assert run(*command[1:]).exit_code == 0
    assert states() == {"locatlas_pico.synthetic": "current", "locatlas_pico.untrained": "superseded"}


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["neighbors", "--protein", "NOSUCHGENE"], "unknown protein 'NOSUCHGENE'"),
        (
            ["neighbors", "--protein", "{protein}", "-k", "500"],
            "there are 18 fields to meet; --exclude protein leaves a query fewer; use fewer than 18",
        ),
        (
            ["neighbors", "--protein", "{protein}", "-k", "500", "--exclude", "none"],
            "k = 500 is too large: there are 18 fields to meet; use at most 18",
        ),
        (
            ["neighbors", "--protein", "{protein}", "-k", "500", "--level", "protein"],
            "there are 6 proteins to meet; --exclude protein leaves a query fewer; use fewer than 6",
        ),
        (
            ["classify", "--protein", "{protein}", "-k", "500", "--level", "protein"],
            "k = 500 is too large: there are 6 labelled proteins to meet; --exclude protein leaves a query fewer",
        ),
        (["neighbors"], "one query needed: a protein, an id or an image"),
        (["neighbors", "--id", "opencell/none"], "unknown fov id"),
        (["neighbors", "--image", "{images}/README.txt", "--channels", "nucleus,protein"], "README.txt"),
        (["neighbors", "--image", "{images}/README.txt"], "its channels must be named"),
        (["neighbors", "--protein", "{protein}", "--where", "colour=red"], "unknown column 'colour'"),
        (["neighbors", "--protein", "{protein}", "--where", "dataset=none"], "passes the filter"),
        (["neighbors", "--protein", "{protein}", "--where", "protein={small}"], "; did you mean protein="),
        (["neighbors", "--protein", "{protein}", "--encoder", "other"], "unknown fov encoder in this atlas 'other'"),
        (["neighbors", "--protein", "{protein}", "--level", "cell"], "no vectors at level cell"),
        (["neighbors", "--protein", "{protein}", "--approximate"], "no FAISS index"),
        (["classify", "--protein", "{protein}", "-k", "400"], "labelled fields to meet; --exclude protein leaves"),
        (["sweep", "--group", "nothing"], "unknown column 'nothing'"),
        (["sweep", "--ks", "17"], "k = 17 is too large"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_bad_input_gets_one_clear_line(
    made: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    name = proteins(made)[0]
    filled = [a.format(protein=name, small=name.lower(), images=made / "images") for a in arguments]
    with pytest.raises(SystemExit) as exit_:
        main([*filled, "--atlas", str(made / "atlas")])
    assert exit_.value.code == 1
    shown = capsys.readouterr()
    assert said in shown.err
    assert shown.err.count("\n") == 1
    assert shown.out == ""


@pytest.mark.parametrize(
    "arguments",
    [
        ["sweep", "--ks", "0,3"],
        ["sweep", "--ks", "three"],
        ["neighbors", "-k", "0"],
        ["index", ".", "--channels", "random", "--dataset", "opencell"],
        ["nonsense"],
    ],
    ids=" ".join,
)
def test_wrong_usage_exits_2(arguments: list[str], tmp_path: Path) -> None:
    with pytest.raises(SystemExit) as exit_:
        main([*arguments, "--atlas", str(tmp_path)])
    assert exit_.value.code == 2


def test_strict_exits_1_when_a_source_cannot_be_used(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("COLUMNS", raising=False)
    (tmp_path / "in").mkdir()
    make_collection(tmp_path / "made", classes=("er",), proteins_per_class=1, hpa_proteins_per_class=0, opencell_px=96,
                    workers=1)  # fmt: skip
    broken = next((tmp_path / "made" / "opencell").rglob("*_proj.tif"))
    broken.write_bytes(broken.read_bytes()[:2000])
    arguments = ["index", str(tmp_path / "made" / "opencell"), "--dataset", "opencell", "--atlas", str(tmp_path / "a")]
    for strict, code in (([], 0), (["--strict"], 1)):
        with pytest.raises(SystemExit) as exit_:
            main([*arguments, *strict])
        assert exit_.value.code == code
    shown = capsys.readouterr().out
    assert broken.name in shown
    assert "1 in quarantine" in shown


def test_what_is_not_an_atlas_is_said_to_be_none(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["status", "--atlas", str(tmp_path / "nowhere")])
    assert "not an atlas (no such folder)" in capsys.readouterr().err


def test_a_failed_index_leaves_no_half_made_atlas(tmp_path: Path, made: Path) -> None:
    source = made / "images" / "opencell"
    done = run("index", source, "--atlas", tmp_path / "a", "--dataset", "opencell", "--encoder", "no.such")
    assert done.exit_code == 1
    assert not (tmp_path / "a").exists()


def _commands() -> list[tuple[str, Callable[..., Any]]]:
    import click

    context = click.Context(group)
    return [(name, group.get_command(context, name)) for name in group.list_commands(context)]  # type: ignore[misc]


def test_every_command_and_option_has_help_and_every_command_is_in_the_readme() -> None:
    readme = (Path(__file__).resolve().parents[2] / "README.md").read_text()
    for name, command in _commands():
        assert command.help, name  # type: ignore[attr-defined]
        assert f"locatlas {name}" in readme, name


def test_without_k_there_are_as_many_neighbors_as_may_answer(made: Path) -> None:
    asked = ("--atlas", made / "atlas", "--protein", proteins(made)[0])
    assert len(document("neighbors", *asked, "--exclude", "none")["hits"]) == 10
    few = document("neighbors", *asked, "--exclude", "none", "-w", "dataset=hpa")
    assert len(few["hits"]) == 6
    assert document("classify", *asked, "-w", "dataset=hpa")["k"] == 6


def test_a_new_image_with_other_channels_than_the_atlas_is_told(made: Path) -> None:
    blue = sorted((made / "images" / "hpa").rglob("*_blue.png"))[0]
    found = document("neighbors", "--atlas", made / "atlas", "--image", blue, "--channels", "nucleus", "-k", 2)
    other, known = found["notes"]
    assert other == "the image has nucleus; most images of the atlas have nucleus, protein"
    assert known.startswith("the image is in the atlas already, as hpa/")


def test_status_tells_what_is_labelled(made: Path) -> None:
    found = document("status", "--atlas", made / "atlas")
    assert found["datasets"]["fov"] == found["labelled"]["fov"] == {"hpa": 6, "opencell": 12}
    assert found["quarantined"] == []


def test_python_takes_paths_as_text_and_refuses_what_is_no_level(made: Path) -> None:
    import locatlas
    from locatlas.errors import InputError, UnknownNameError

    atlas = locatlas.open(str(made / "atlas"))
    with pytest.raises(UnknownNameError, match="unknown level 'foo'; known: cell, fov, protein"):
        atlas.neighbors(protein=proteins(made)[0], level="foo")  # type: ignore[arg-type]
    with pytest.raises(InputError, match="ks = 5: a list of whole numbers"):
        atlas.sweep(ks=5)  # type: ignore[arg-type]
    source = str(made / "images" / "hpa")
    assert locatlas.index(source, atlas=str(made / "atlas"), dataset="hpa").skipped == 6
    ids, vectors = atlas.embeddings(level="fov")
    assert len(ids) == len(vectors) == 18
