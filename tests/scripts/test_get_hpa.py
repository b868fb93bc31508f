import csv
import io
import json
import zipfile
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner
from fetching.errors import FetchError
from fetching.hpa_pages import images_of_page, images_of_table, remotes
from flaky_server import FlakyServer, status, truncate
from get_hpa import get_hpa
from PIL import Image

from locatlas.indexer.datasets.registry import read_records

GENES = """Gene\tGene name\tReliability\tMain location\tAdditional location
ENSG00000134057\tCCNB1\tEnhanced\tCytosol\t
ENSG00000181163\tNPM1\tSupported\tNucleoli;Nucleoplasm\t
ENSG00000113368\tLMNB1\tApproved\tNuclear membrane\t
ENSG00000000003\tTSPAN6\tUncertain\tCytosol\tCell Junctions
"""
PAGE = """<?xml version="1.0" encoding="UTF-8"?>
<proteinAtlas xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance"><entry version="25">
 <name>{name}</name><identifier id="{ensg}" db="Ensembl"/>
 <antibody id="HPA0{number}">
  <tissueExpression><data><assayImage><image>
   <imageUrl>http://images.proteinatlas.org/{number}/9999_A_1.jpg</imageUrl></image></assayImage></data></tissueExpression>
  <cellExpression technology="ICC/IF">
   <subAssay type="human"><data><cellLine>U2OS</cellLine>
     <location GOId="GO:0005829">{place}</location><location>Vesicles</location>
     <assayImage>
      <image><imageUrl>http://images.proteinatlas.org/{number}/{plate}_A1_1_blue_red_green.jpg</imageUrl></image>
      <image><imageUrl>http://images.proteinatlas.org/{number}/{plate}_A1_2_cr5af9_red_green.jpg</imageUrl></image>
     </assayImage></data>
    <data><cellLine>A-431</cellLine><location>{place}</location><assayImage>
      <image><imageUrl>https://images.proteinatlas.org/{number}/{plate}_B12_1_blue_red_green.jpg</imageUrl></image>
    </assayImage></data></subAssay>
   <subAssay type="mouse"><data><assayImage><image>
    <imageUrl>http://images.proteinatlas.org/{number}/7_A1_1_blue_red_green.jpg</imageUrl></image></assayImage></data></subAssay>
  </cellExpression></antibody>
</entry></proteinAtlas>
"""
NUMBERS = {
    "ENSG00000134057": ("CCNB1", "30741", "Cytosol", "5"),
    "ENSG00000181163": ("NPM1", "11384", "Nucleoli", "1"),
}


def jpeg(seed: int) -> bytes:
    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (16, 16, 3)).astype(np.uint8)
    Image.fromarray(pixels).save(stream, "jpeg")
    return stream.getvalue()


def page(ensg: str) -> bytes:
    name, number, place, plate = NUMBERS[ensg]
    return PAGE.format(name=name, ensg=ensg, number=number, place=place, plate=plate).encode()


def genes_zip(text: str) -> bytes:
    packed = io.BytesIO()
    with zipfile.ZipFile(packed, "w") as archive:
        archive.writestr("subcellular_location.tsv", text)
    return packed.getvalue()


@pytest.fixture
def site(server: FlakyServer) -> FlakyServer:
    """HPA's site with pages of two genes and six fields, two of them without ER."""
    server.files["/download/tsv/subcellular_location.tsv.zip"] = genes_zip(GENES)
    for ensg, (_, number, _, plate) in NUMBERS.items():
        server.files[f"/{ensg}.xml"] = page(ensg)
        for seed, field in enumerate(("A1_1", "A1_2_cr5af9", "B12_1")):
            for colour in ("blue", "red", "green", "yellow"):
                if (field, colour) != ("B12_1", "yellow"):
                    server.files[f"/{number}/{plate}_{field}_{colour}.jpg"] = jpeg(seed)
    return server


@pytest.fixture
def run(site: FlakyServer, tmp_path: Path):
    def call(*options: str):
        fixed = ["--site", site.url, "--images", site.url, "--rate", "100", "--retries", "1"]
        return CliRunner().invoke(get_hpa, [str(tmp_path / "hpa"), *fixed, *options])

    return call


def test_fields_of_genes_arrive_as_the_reader_takes_them(run, tmp_path: Path) -> None:
    result = run("--gene", "CCNB1", "--gene", "ENSG00000181163")
    assert result.exit_code == 0, result.output
    assert "2 are not at the source" in result.output
    records = {r.id: r for r in read_records("hpa", tmp_path / "hpa")}
    assert len(records) == 6
    one = records["hpa/1_A1_1"]
    assert one.antibody == "HPA011384"
    assert one.cell_line == "U2OS"
    assert one.channels == ("microtubules", "protein", "nucleus", "er")
    assert {r.channels for r in records.values()} == {one.channels, one.channels[:3]}


def test_locations_are_those_of_the_field_and_not_of_the_gene(run, tmp_path: Path) -> None:
    run("--gene", "NPM1")
    places = {r.id: r.localizations for r in read_records("hpa", tmp_path / "hpa")}
    assert places == {
        "hpa/1_A1_1": ("Nucleoli", "Vesicles"),
        "hpa/1_A1_2_cr5af9": ("Nucleoli", "Vesicles"),
        "hpa/1_B12_1": ("Nucleoli",),
    }


def test_the_manifest_reads_as_the_same_images(run, tmp_path: Path) -> None:
    run("--gene", "NPM1")
    fields = ("protein", "antibody", "plate", "well", "localizations", "channels")
    folder = tmp_path / "hpa"
    by_reader = sorted([getattr(r, f) for f in fields] for r in read_records("hpa", folder))
    by_manifest = sorted([getattr(r, f) for f in fields] for r in read_records("manifest", folder / "manifest.csv"))
    assert [row[:-1] for row in by_reader] == [row[:-1] for row in by_manifest]
    assert [sorted(row[-1]) for row in by_reader] == [sorted(row[-1]) for row in by_manifest]


def test_a_second_run_asks_for_neither_pages_nor_images(run, site: FlakyServer, tmp_path: Path) -> None:
    run("--gene", "NPM1")
    site.asked.clear()
    assert "0 fetched, 11 were here" in run("--gene", "NPM1").output
    # sizes for the volume, and what was not at the source, are asked for again
    assert {path for method, path, _ in site.asked if method == "GET"} == {"/11384/1_B12_1_yellow.jpg"}


def test_a_later_run_adds_to_the_table_of_images(run, tmp_path: Path) -> None:
    run("--gene", "NPM1", "--fovs-per-gene", "1")
    run("--gene", "NPM1")
    with (tmp_path / "hpa" / "IF-image.csv").open(newline="") as file:
        assert len(list(csv.DictReader(file))) == 3


@pytest.mark.parametrize(
    ("options", "n"),
    [
        (["--gene", "NPM1", "--cell-line", "A-431"], 1),
        (["--gene", "NPM1", "--fovs-per-gene", "2"], 2),
        (["--location", "Nucleoli"], 3),
        (["--reliability", "Enhanced"], 3),
        (["--single", "--location", "Cytosol"], 3),
        (["--per-location", "1", "--reliability", "Supported"], 3),
    ],
)
def test_a_subset_is_what_was_asked_for(run, tmp_path: Path, options: list[str], n: int) -> None:
    result = run(*options)
    assert result.exit_code == 0, result.output
    assert len(list(read_records("hpa", tmp_path / "hpa"))) == n


def test_a_dry_run_estimates_the_volume_and_fetches_no_image(run, site: FlakyServer, tmp_path: Path) -> None:
    result = run("--gene", "NPM1", "--dry-run")
    files = [body for path, body in site.files.items() if path.startswith("/11384/")]
    assert f"3 fields of 1 genes, 12 files, about {sum(map(len, files)) / 1000:.1f} kB" in result.output
    assert list((tmp_path / "hpa").glob("*/*.jpg")) == []


def test_a_table_of_images_stands_for_the_pages(run, site: FlakyServer, tmp_path: Path) -> None:
    table = tmp_path / "IF.csv"
    table.write_text(
        "filename,if_plate_id,position,sample,status,locations,antibody,ensembl_ids,gene_names,atlas_name\n"
        "/a/1_A1_1_,1,A1,1,35,Nucleoli,HPA011384,ENSG00000181163,NPM1,U2OS\n"
        "/a/3_A1_1_,3,A1,1,35,Nucleoli,CAB000123,ENSG00000181163,NPM1,U2OS\n"
        "/a/4_A1_1_,4,A1,1,35,Cytosol,HPA030741,ENSG00000134057,CCNB1,U2OS\n"
    )
    result = run("--table", str(table), "--gene", "NPM1")
    assert result.exit_code == 0, result.output
    assert "1 images are of antibodies whose folder" in result.output
    assert [r.id for r in read_records("hpa", tmp_path / "hpa")] == ["hpa/1_A1_1"]
    assert not any(path.endswith(".xml") for _, path, _ in site.asked)


def test_a_gene_without_a_page_has_no_images(run) -> None:
    assert "no images of what was asked for" in str(run("--gene", "LMNB1").exception)


def test_a_page_that_was_missing_or_not_understood_is_asked_for_again(run, site: FlakyServer, tmp_path: Path) -> None:
    lost = site.files.pop("/ENSG00000181163.xml")
    whole = site.files["/ENSG00000134057.xml"]
    site.files["/ENSG00000134057.xml"] = whole.replace(b"cellExpression", b"newExpression")
    told = "of 2 genes 1 have no page, 1 have a page without images; the site may have changed"
    assert told in str(run("--gene", "NPM1", "--gene", "CCNB1").exception)
    site.files["/ENSG00000134057.xml"] = whole
    result = run("--gene", "NPM1", "--gene", "CCNB1")
    assert result.exit_code == 0, result.output
    assert "of 2 genes 1 have no page\n" in result.output
    site.files["/ENSG00000181163.xml"] = lost
    assert run("--gene", "NPM1", "--gene", "CCNB1").exit_code == 0
    assert len(list(read_records("hpa", tmp_path / "hpa"))) == 6


def test_what_one_site_said_is_not_taken_for_what_another_says(run, site: FlakyServer) -> None:
    run("--gene", "NPM1", "--dry-run")
    site.files["/mirror/ENSG00000181163.xml"] = page("ENSG00000181163").replace(b"/1_A1_1_blue", b"/8_A1_1_blue")
    run("--gene", "NPM1", "--site", f"{site.url}/mirror", "--dry-run")
    assert ("GET", "/mirror/ENSG00000181163.xml", None) in site.asked


def test_a_table_of_genes_that_is_another_is_not_kept(run, site: FlakyServer, tmp_path: Path) -> None:
    path = "/download/tsv/subcellular_location.tsv.zip"
    right, site.files[path] = site.files[path], genes_zip("a\tb\n1\t2\n")
    assert "not the table that was expected (missing column Gene" in str(run("--gene", "NPM1").exception)
    assert list((tmp_path / "hpa").glob("*.tsv")) == []
    site.files[path] = right
    assert run("--gene", "NPM1").exit_code == 0


def test_what_breaks_off_or_fails_once_is_whole_at_the_end(run, site: FlakyServer, tmp_path: Path) -> None:
    path = "/11384/1_A1_1_green.jpg"
    site.behaviours["/ENSG00000181163.xml"] = [truncate(100), status(503)]
    site.behaviours[path] = [truncate(50)]
    result = run("--gene", "NPM1", "--retries", "3")
    assert result.exit_code == 0, result.output
    assert (tmp_path / "hpa" / path[1:]).read_bytes() == site.files[path]


def test_a_needed_stain_that_is_missing_fails_in_one_line_and_the_rest_is_noted(
    run, site: FlakyServer, tmp_path: Path
) -> None:
    lost = site.files.pop("/11384/1_A1_1_green.jpg")
    result = run("--gene", "NPM1")
    assert result.exit_code == 1
    assert "/11384/1_A1_1_green.jpg: 404" in str(result.exception)
    assert len(json.loads((tmp_path / "hpa/fetched.json").read_text())["files"]) == 10
    site.files["/11384/1_A1_1_green.jpg"] = lost
    assert "1 fetched, 10 were here" in run("--gene", "NPM1").output


def test_asking_for_all_of_hpa_is_wrong_usage(run) -> None:
    result = run()
    assert result.exit_code == 2
    assert "--per-location" in result.output


def test_a_table_of_genes_that_is_no_archive_is_one_line(run, site: FlakyServer) -> None:
    site.files["/download/tsv/subcellular_location.tsv.zip"] = b"<html>maintenance</html>"
    assert "not an archive with subcellular_location.tsv" in str(run("--gene", "NPM1").exception)


def test_an_id_in_the_table_of_genes_that_is_a_path_is_left_out_and_writes_nothing_outside(
    run, site: FlakyServer, tmp_path: Path
) -> None:
    rows = "../../../up/EVIL\tEVIL\tApproved\tNucleoli\t\nENSG1\tSHORT\tApproved\tNucleoli\t\n"
    site.files["/download/tsv/subcellular_location.tsv.zip"] = genes_zip(GENES + rows)
    result = run("--location", "Nucleoli")
    assert result.exit_code == 0, result.output
    assert "2 of 6 rows left out" in result.output
    assert {path.name for path in tmp_path.iterdir()} == {"hpa"}
    assert not any("EVIL" in path or "ENSG1." in path for _, path, _ in site.asked)


def test_a_table_without_any_gene_is_one_line(run, site: FlakyServer) -> None:
    text = f"{GENES.splitlines()[0]}\nP12345\tCCNB1\tApproved\tCytosol\t\n"
    site.files["/download/tsv/subcellular_location.tsv.zip"] = genes_zip(text)
    assert "no row has the Ensembl id" in str(run("--gene", "CCNB1").exception)


def test_only_human_immunofluorescence_is_taken_from_a_page() -> None:
    images = images_of_page(page("ENSG00000134057"), "u")
    assert [(i.field, i.has_blue) for i in images] == [("5_A1_1", True), ("5_A1_2_cr5af9", False), ("5_B12_1", True)]
    assert images[0].row == {
        "if_plate_id": "5", "position": "A1", "sample": "1", "locations": "Cytosol,Vesicles", "antibody": "HPA030741",
        "ensembl_ids": "ENSG00000134057", "gene_names": "CCNB1", "atlas_name": "U2OS",
    }  # fmt: skip


@pytest.mark.parametrize(
    "body", [b"<html/>", b"<proteinAtlas/>", b"no page", b'<!DOCTYPE a [<!ENTITY b "c">]><entry/>']
)
def test_a_page_that_is_none_is_refused(body: bytes) -> None:
    with pytest.raises(FetchError, match=r"^u: "):
        images_of_page(body, "u")


def test_an_antibody_is_its_number_on_the_site() -> None:
    rows = [{"if_plate_id": "1", "position": "A1", "sample": "2", "antibody": f"HPA{n:06}"} for n in (992, 30741)]
    images, without = images_of_table([*rows, {**rows[0], "antibody": "CAB000001"}])
    assert [i.folder for i in images] == ["992", "30741"]
    assert without == 1
    (file,) = remotes(images[0], site="https://i/", colours=["yellow"], suffix="tif.gz")
    assert (file.url, file.path, file.optional) == (
        "https://i/992/1_A1_2_yellow.tif.gz",
        "992/1_A1_2_yellow.tif.gz",
        True,
    )
