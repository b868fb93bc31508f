import csv
import hashlib
import json
from pathlib import Path

import numpy as np
import pytest
import tifffile
from click.testing import CliRunner
from fetching.errors import FetchError
from fetching.s3 import digest_of, list_objects
from flaky_server import FlakyServer
from get_opencell import get_opencell

from locatlas.indexer.datasets.opencell import ANNOTATION_FILES
from locatlas.indexer.datasets.registry import read_records

ROWS = {
    "LMNB1": ("ENSG00000113368", "nuclear_membrane"),
    "NPM1": ("ENSG00000181163", "nucleolus_gc"),
    "FBL": ("ENSG00000105202", "nucleolus_fc_dfc;nucleoplasm"),
    "H2AX-1": ("ENSG00000188486", "chromatin"),
}


def picture(seed: int) -> bytes:
    import io

    stream = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 4000, (2, 32, 32)).astype(np.uint16)
    tifffile.imwrite(stream, pixels, imagej=True, metadata={"axes": "CYX"})
    return stream.getvalue()


@pytest.fixture(scope="session")  # as long as the server, which a worker that steals tests of this file meets again
def bucket(s3) -> str:
    """A bucket in OpenCell's layout: four proteins, two fields each, projections and stacks, and other things."""
    url, client = s3
    name = "czb-opencell"
    client.create_bucket(Bucket=name, ACL="public-read", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    for number, (gene, (ensg, _)) in enumerate(ROWS.items()):
        for fov in range(2):
            for kind in ("proj", "stack"):
                fid = f"FID{number * 10 + fov:08}"
                key = f"microscopy/raw/{gene}_{ensg}/OC-FOV_{gene}_{ensg}_CID{number:06}_{fid}_{kind}.tif"
                client.put_object(Bucket=name, Key=key, Body=picture(number * 10 + fov))
    client.put_object(Bucket=name, Key="microscopy/raw/index.html", Body=b"<html>")
    client.put_object(Bucket=name, Key="index.html", Body=b"<html>")
    return f"{url}/{name}"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "annotations.csv"
    lines = [f"{gene},{ensg},{labels},," for gene, (ensg, labels) in ROWS.items()]
    head = "target_name,ensg_id,annotations_grade_3,annotations_grade_2,annotations_grade_1"
    path.write_text("\n".join([head, *lines]) + "\n")
    return path


@pytest.fixture
def run(bucket: str, table: Path, tmp_path: Path):
    def call(*options: str):
        fixed = ["--bucket", bucket, "--table", str(table), "--rate", "100", "--retries", "0"]
        return CliRunner().invoke(get_opencell, [str(tmp_path / "oc"), *fixed, *options])

    return call


def names(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.rglob("OC-FOV*.tif"))


def test_projections_arrive_in_the_layout_that_the_reader_takes(run, tmp_path: Path) -> None:
    result = run()
    assert result.exit_code == 0, result.output
    folder = tmp_path / "oc"
    assert len(names(folder)) == 8
    assert all(name.endswith("_proj.tif") for name in names(folder))
    records = list(read_records("opencell", folder))
    assert {(r.protein, r.localizations) for r in records} == {
        (gene, tuple(sorted(labels.split(";")))) for gene, (_, labels) in ROWS.items()
    }
    receipt = json.loads((folder / "fetched.json").read_text())
    assert len(receipt["files"]) == 8
    assert all(noted["proved"] for noted in receipt["files"].values())
    for name, noted in receipt["files"].items():
        assert noted["digest"] == f"md5:{hashlib.md5((folder / name).read_bytes()).hexdigest()}"


def test_the_manifest_reads_as_the_same_images(run, tmp_path: Path) -> None:
    run()
    folder = tmp_path / "oc"
    fields = ("protein", "ensembl_id", "localizations", "channels")
    by_reader = sorted([getattr(r, f) for f in fields] for r in read_records("opencell", folder))
    by_manifest = sorted([getattr(r, f) for f in fields] for r in read_records("manifest", folder / "manifest.csv"))
    assert by_reader == by_manifest
    assert len(by_reader) == 8


def test_a_second_run_fetches_nothing_and_a_lost_file_alone_comes_back(run, tmp_path: Path) -> None:
    run()
    assert "0 fetched, 8 were here" in run().output
    lost = next((tmp_path / "oc").rglob("OC-FOV_NPM1*_proj.tif"))
    lost.unlink()
    assert "1 fetched, 7 were here" in run().output
    assert lost.is_file()


def test_a_dry_run_says_count_and_volume_and_fetches_no_image(run, tmp_path: Path) -> None:
    result = run("--dry-run")
    size = len(picture(0))
    assert f"8 files, {8 * size / 1000:.1f} kB" in result.output
    assert names(tmp_path / "oc") == []


@pytest.mark.parametrize(
    ("options", "genes"),
    [
        (["--gene", "NPM1", "--gene", "H2AX-1"], {"NPM1", "H2AX-1"}),
        (["--class", "nucleoplasm"], {"FBL"}),
        (["--single"], {"LMNB1", "NPM1", "H2AX-1"}),
        (["--per-class", "1", "--single"], {"LMNB1", "NPM1", "H2AX-1"}),
    ],
)
def test_a_subset_is_what_was_asked_for(run, tmp_path: Path, options: list[str], genes: set[str]) -> None:
    assert run(*options).exit_code == 0
    assert {name.split("_")[1] for name in names(tmp_path / "oc")} == genes


def test_fewer_fields_are_some_of_more(run, tmp_path: Path) -> None:
    run("--fovs-per-protein", "1")
    one = set(names(tmp_path / "oc"))
    assert len(one) == 4
    run("--fovs-per-protein", "2")
    assert one < set(names(tmp_path / "oc"))


def test_genes_can_be_listed_in_a_file(run, tmp_path: Path) -> None:
    (tmp_path / "genes.txt").write_text("# nucleoli\nNPM1\n\nFBL  # fibrillarin\n")
    run("--genes", str(tmp_path / "genes.txt"))
    assert {name.split("_")[1] for name in names(tmp_path / "oc")} == {"NPM1", "FBL"}


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        (["--class", "nucleolus"], "unknown class 'nucleolus'"),
        (["--gene", "XYZ1"], "has no proj of what was asked for"),
        (["--max-gb", "0.000001"], "more than --max-gb"),
    ],
)
def test_what_cannot_be_is_one_line(run, options: list[str], reason: str) -> None:
    result = run(*options)
    assert result.exit_code == 1
    assert reason in str(result.exception)
    assert "\n" not in str(result.exception)


def test_a_bucket_that_is_not_there_is_one_line(run, s3) -> None:
    result = run("--bucket", f"{s3[0]}/no-such-bucket")
    assert "no-such-bucket" in str(result.exception)
    assert "404" in str(result.exception)


def test_a_long_listing_is_read_page_by_page_like_boto3_does(s3, session) -> None:
    url, client = s3
    client.create_bucket(Bucket="long", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    for number in range(21):
        client.put_object(Bucket="long", Key=f"a/{number:04} +&ü.tif", Body=b"x" * (number % 3))
    ours = [(thing.key, thing.size, thing.digest) for thing in list_objects(f"{url}/long", "a/", session, page=10)]
    pages = client.get_paginator("list_objects_v2").paginate(Bucket="long", Prefix="a/")
    theirs = [(o["Key"], o["Size"], f"md5:{o['ETag'].strip(chr(34))}") for page in pages for o in page["Contents"]]
    assert ours == theirs
    assert len(ours) == 21


def test_an_object_that_was_uploaded_in_parts_is_checked_by_the_parts(s3, session, tmp_path: Path) -> None:
    from fetching.plan import Remote
    from fetching.s3 import url_of
    from fetching.transfer import fetch
    from fetching.verify import is_proved

    url, client = s3
    client.create_bucket(Bucket="parts", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    upload = client.create_multipart_upload(Bucket="parts", Key="stack.tif")["UploadId"]
    bodies = [b"a" * (5 << 20), b"b" * (5 << 20), b"c" * 1000]
    tags = [
        client.upload_part(Bucket="parts", Key="stack.tif", UploadId=upload, PartNumber=n, Body=body)["ETag"]
        for n, body in enumerate(bodies, 1)
    ]
    done = {"Parts": [{"PartNumber": n, "ETag": tag} for n, tag in enumerate(tags, 1)]}
    client.complete_multipart_upload(Bucket="parts", Key="stack.tif", UploadId=upload, MultipartUpload=done)
    (thing,) = list_objects(f"{url}/parts", "", session)
    assert thing.digest.startswith("etag:")
    assert thing.digest.endswith("-3")
    path = fetch(Remote(url_of(f"{url}/parts", thing.key), "s.tif", thing.size, thing.digest), tmp_path, session)
    assert is_proved(path, thing.digest)
    with path.open("r+b") as file:
        file.write(b"x")
    assert not is_proved(path, thing.digest)


@pytest.mark.parametrize("key", ["../up.tif", "/etc/x.tif", "a//b.tif", "a/.hidden", "a\\b.tif", "a/\n.tif", "a/."])
def test_a_key_that_would_leave_the_folder_is_refused(key: str) -> None:
    from fetching.plan import relative_path

    with pytest.raises(FetchError, match="not a name"):
        relative_path([key])


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<html>", "not XML"),
        (b"<html></html>", "not the listing"),
        (b'<!DOCTYPE x [<!ENTITY a "b">]><ListBucketResult>&a;</ListBucketResult>', "declares entities"),
        (b"<ListBucketResult><IsTruncated>true</IsTruncated></ListBucketResult>", "nothing to go on by"),
        (b"<ListBucketResult><Contents><Key>a</Key></Contents></ListBucketResult>", "without key or size"),
    ],
)
def test_a_listing_that_is_none_is_refused(server, session, body: bytes, reason: str) -> None:
    server.files["/?list-type=2&prefix=&max-keys=1000"] = body
    with pytest.raises(FetchError, match=reason):
        list(list_objects(server.url, "", session))


def test_a_tag_that_is_no_md5_is_no_digest() -> None:
    assert digest_of('"abc"') is None
    assert digest_of(None) is None
    assert digest_of(f'"{"a" * 32}-12"') == f"etag:{'a' * 32}-12"


def test_a_page_in_place_of_the_table_is_not_kept_and_the_next_run_gets_the_table(
    run, server: FlakyServer, table: Path, tmp_path: Path
) -> None:
    server.files["/t.csv"] = b"<!doctype html><html>We will be back soon</html>"
    options = ("--table", f"{server.url}/t.csv", "--gene", "NPM1")
    result = run(*options)
    assert f"{server.url}/t.csv: not the table that was expected (missing column" in str(result.exception)
    assert list((tmp_path / "oc").rglob("*.csv")) == []
    server.files["/t.csv"] = table.read_bytes()
    assert run(*options).exit_code == 0


def test_a_table_that_was_kept_and_is_none_says_how_to_get_another(run, tmp_path: Path) -> None:
    (tmp_path / "oc").mkdir()
    (tmp_path / "oc" / ANNOTATION_FILES[0]).write_text("<html>\n")
    assert str(run("--gene", "NPM1").exception).endswith("; remove it, and it is fetched again")


def test_the_manifest_is_a_plain_csv(run, tmp_path: Path) -> None:
    run("--gene", "NPM1")
    with (tmp_path / "oc" / "manifest.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert {row["channels"] for row in rows} == {"nucleus;protein"}
    assert {row["protein"] for row in rows} == {"NPM1"}
