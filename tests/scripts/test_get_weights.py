import hashlib
import json
from dataclasses import replace
from pathlib import Path

import pytest
from click.testing import CliRunner
from fetching.errors import FetchError
from fetching.s3 import list_objects
from flaky_server import FlakyServer, status, truncate
from get_weights import check, get_weights, remote_of, weights_of_grids

from locatlas.errors import UnknownNameError, WeightsError
from locatlas.models import registry, vit, weights
from locatlas.models.home import weights_folder

FOV = "vit_base_patch16.hpa_fov_dino4cells"
SUBCELL = "subcell_vit_base_patch16.bg"
DINO = "vit_small_patch16_224.dino"
BODY = b"weights" * 1000


def zenodo(server: FlakyServer, record: str, name: str, body: bytes) -> None:
    """A record as Zenodo describes it, and its file."""
    listed = {"key": name, "size": len(body), "checksum": f"md5:{hashlib.md5(body).hexdigest()}", "links": {}}
    other = {"key": "whole_images.csv", "size": 3, "checksum": f"md5:{hashlib.md5(b'a,b').hexdigest()}"}
    server.files[f"/api/records/{record}"] = json.dumps({"id": int(record), "files": [listed, other]}).encode()
    server.files[f"/api/records/{record}/files/{name}/content"] = body


def run(server_url: str, *options: str):
    mirrors = [f"--mirror={site}={server_url}" for site in ("https://zenodo.org", "https://huggingface.co")]
    fixed = ["--rate", "100", "--retries", "1", "--no-check"]
    return CliRunner().invoke(get_weights, [*fixed, *mirrors, *options])


def test_a_zenodo_file_lands_where_locatlas_looks_for_it(server: FlakyServer) -> None:
    zenodo(server, "8061392", "DINO_FOV_checkpoint.pth", BODY)
    path = "/api/records/8061392/files/DINO_FOV_checkpoint.pth/content"
    server.behaviours[path] = [truncate(3000)]
    result = run(server.url, FOV)
    assert result.exit_code == 0, result.output
    assert weights.locate(registry.get(FOV)).read_bytes() == BODY
    assert server.ranges(path) == [None, "bytes=3000-"]
    assert json.loads((weights_folder() / "fetched.json").read_text())["files"][f"{FOV}.pth"]["proved"]
    assert "0 fetched, 1 were here" in run(server.url, FOV).output


def test_bytes_that_are_not_those_of_the_record_are_refused(server: FlakyServer) -> None:
    zenodo(server, "8061392", "DINO_FOV_checkpoint.pth", BODY)
    server.files["/api/records/8061392/files/DINO_FOV_checkpoint.pth/content"] = BODY[::-1]
    result = run(server.url, FOV)
    assert "its md5 is" in str(result.exception)
    assert not list(weights_folder().glob("*.pth"))


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"{}", "not a record as Zenodo describes it"),
        (b'{"files": [{"key": "a", "size": 1, "checksum": "crc:1"}]}', "not a record as Zenodo describes it"),
        (b'{"files": [{"key": "../a", "size": 1, "checksum": "md5:1"}]}', "not a name"),
        (b'{"files": []}', "has no such file"),
    ],
)
def test_a_record_that_is_none_is_one_line(server: FlakyServer, answer: bytes, reason: str) -> None:
    server.files["/api/records/8061392"] = answer
    assert reason in str(run(server.url, FOV).exception)


def test_hugging_face_tells_size_and_digest_before_it_redirects(server: FlakyServer) -> None:
    path = f"/timm/{DINO}/resolve/main/model.safetensors"
    server.files["/cdn/blob"] = BODY
    linked = {"X_Linked_ETag": f'"{hashlib.sha256(BODY).hexdigest()}"', "X_Linked_Size": str(len(BODY))}
    server.forever = True
    server.behaviours[path] = [status(302, Location="/cdn/blob", **linked)]
    result = run(server.url, DINO)
    assert result.exit_code == 0, result.output
    assert "1 file, 7.0 kB" in result.output
    assert (weights_folder() / f"{DINO}.safetensors").read_bytes() == BODY
    server.files["/cdn/blob"] = BODY + b"x"
    (weights_folder() / f"{DINO}.safetensors").unlink()
    assert "were announced" in str(run(server.url, DINO).exception)


def test_subcell_is_checked_by_its_entity_tag(s3, session) -> None:
    url, client = s3
    client.create_bucket(Bucket="subcell", CreateBucketConfiguration={"LocationConstraint": "us-west-2"})
    key = "models/DNA-Protein_MAE-CellS-ProtS-Pool.pth"
    client.put_object(Bucket="subcell", Key=key, Body=BODY, ACL="public-read")
    mirrors = [("https://czi-subcell-public.s3.amazonaws.com", f"{url}/subcell")]
    remote = remote_of(registry.get(SUBCELL), session, mirrors)
    (listed,) = list_objects(f"{url}/subcell", "models/", session)
    assert (remote.size, remote.digest) == (listed.size, listed.digest)
    assert remote.digest == f"md5:{hashlib.md5(BODY).hexdigest()}"
    assert remote.path == f"{SUBCELL}.pth"


def test_a_dry_run_tells_volume_and_licence_and_fetches_nothing(server: FlakyServer) -> None:
    zenodo(server, "8061392", "DINO_FOV_checkpoint.pth", BODY)
    result = run(server.url, FOV, "--dry-run")
    assert "1 file, 7.0 kB" in result.output
    assert "not stated" in result.output
    assert not weights_folder().exists()


def test_the_grids_name_encoders_that_can_be_fetched() -> None:
    assert {FOV, "vit_base_patch16.hpa_cell_dino4cells", "vit_base_patch16_224.dino"} <= set(weights_of_grids())


def test_weights_that_are_asked_for_by_a_form_are_told(session) -> None:
    with pytest.raises(FetchError, match="asked for by the form"):
        remote_of(registry.get("cell_dino_vit_large_patch16.hpa_fov"), session)


def test_an_unknown_name_is_told(server: FlakyServer) -> None:
    result = run(server.url, "no_such.encoder")
    assert isinstance(result.exception, UnknownNameError)


def test_no_request_is_made_offline(server: FlakyServer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCATLAS_OFFLINE", "1")
    assert "LOCATLAS_OFFLINE is set" in str(run(server.url, FOV).exception)
    assert server.asked == []


def test_the_list_says_what_is_here(home: Path) -> None:
    (home / "weights").mkdir()
    (home / "weights" / f"{DINO}.safetensors").write_bytes(BODY)
    result = CliRunner().invoke(get_weights, ["--list"])
    assert result.exit_code == 0
    assert "form" in result.output


def test_weights_that_fit_are_told_and_others_are_refused() -> None:
    spec = replace(registry.get("locatlas_pico.untrained"), name="locatlas_pico.mine", weights_sha256=None, source="")
    network = vit.build(spec)
    vit.seed_weights(network, 0)
    tensors = dict(vit.weights_module(network).state_dict())
    weights.save(tensors, weights_folder() / f"{spec.name}.safetensors")
    assert check(spec).endswith("all fit")
    lacking = dict(list(tensors.items())[1:])
    weights.save(lacking, weights_folder() / f"{spec.name}.safetensors")
    with pytest.raises(WeightsError, match="does not fit"):
        check(spec)
