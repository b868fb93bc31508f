"""What fuzzing found, each mended: inputs as they were found, made smaller where they could be."""

import base64
import io
import pickle
import zlib
from pathlib import Path

import pytest
import torch

from locatlas.errors import ImageRejectedError, InputError, WeightsError
from locatlas.indexer.datasets.tables import open_table
from locatlas.indexer.files import decoding
from locatlas.indexer.importing.files import read_vector_file
from locatlas.models.weights import load_state

# Parquet whose footer announces a histogram of levels of another length: pyarrow 25 ends the process when a column of
# its metadata is looked at (an exception of C++ that nobody catches).
ENDS_PROCESS = zlib.decompress(
    base64.b64decode(
        "eNp9U1Fv0lAUPve2VFwaA4u3uU14IOoaTLbJZiCLYZHbbbBNVCCZU9+ANUhkgAXBLD7wYIwP/gh/hz/AJ2N83IM/xnNuYSOSeNue"
        "tud833e+e9JWVX1LmOK2kBW8wSrAyj0GAA0KTQFiVTjrWEkIS1ipPGRYU7JGMonVm2mO0WTM4AjIimxF2FpBAsTY/vQxVot44jXF"
        "61sR1e4Ibx1RkZo0KUsRpg5kFt60frJI+kaeom0Yxpcf1GdF3KoIrvvEEmSyumSSZ1hVsuqCSYMxDsJ0uzmQ1rD1JjhvCAuEfZdL"
        "3jlbg0oKQTkurXHQGvVD1LcqBUqZ0ux2hiOB7PgalzeCbnAe9EZIpbdB2B8Fnd6M75huyi14kBK2mwMr4ZK24I7pfHQ+Ma/gxRfn"
        "55JhIGFA3xwKSLdcD2j/pBGPNHZmlrSNeXsUtZ2fzPnNvEvmfWX/n+RSp/ueGXdLNNVZr7nf+Ya06dC58D4b3h++ONBl15xccxqy"
        "891wTC/u/DLATUlb1evPTx9Fw5aX/IFebYWrpqL1RKmJ8tuqpFRb7emS8n2lntLDnlJHOnF9V1EpQmqQlvJ3SFlz6zr56hqv1yGF"
        "1uHx+Kz8YtBs+xPCD6oYJiQxObkCRdY0tXQl5W+/Pn2WbT5EG8cXRK3N+6kPGtT6p98BhcbLereJcri/I9Lx27NqDQ+/RvsrE3V/"
        "Rj6Ys2sn2kRZLY5K0Ygw2X0b6ddm/XZ3QaYHjfDd+2C00RoMNhph2J+kx0E47PR76e38ZnZzyy3g5xmdEDPwj8F//i+qCLt3"
    )
)

# HDF5 with an attribute that libhdf5 reads without an end, with the interpreter's lock held.
NEVER_ENDS = zlib.decompress(
    base64.b64decode(
        "eNrtmjFv2lAQx989Y9WhoTFSpdJOjI7aISMjVaBliJqq7ZCp4FCXIBk3Eh06Zmy3jh079mN05GPwTQjP757hPYEIqKqQ8v8N"
        "nN+7487Y53v2mR+d1qtK+VlZKIJAlEQolpkxrRN7bPQ9lsTyO8s/0sxTrqvxfJX9u3Yf3rXbynrmYOJMfS0DAfaDzv+N1n75"
        "VskLHpt8mkjb7svleMTSysvmjnHX5W/H0+Mr/2752wiQv/f6anHyt27qpW/bjYfZIE26/SRNu8NRPEjGdn1tbBn3/ZvzFglZ"
        "VPVfx7a/vzyePrfzs+7Zdm6+3zdIHOhjQWas6x+V9IR01sGSIzfpvXmFUbpq/YhtQ1H2RfmI9f78zCi99GTu4uE8g9QGFfsT"
        "5JXqU/I5jb8mhd+AM82T/s3BYleIQ5fMroWcIZMn9rpu5qPIntd5RUW+RA9wje+CWjdoxbpxuKWfxok9vms+AgD2c8UBAAAA"
        "AABgHYfcWSLxSDwWNdG/irMsSbtZPMpbSE+J8if5sLiz1E/uxA0Ecu46lYxqi+3Xp+dnJNjBCvvYea6s4JQAADYzwyH4N5U/"
        "tCr/KL6+HmaDrSt/Zany61ax73S+a9b3pVP5vXkkpQkDE6mZfxYdbKk72AH78Sji3mXo/LKfe3m8170RdN+kbHojePFCLJ0N"
        "AAAAAAAAAAAAgH3BdIm+fez3fqs/qTUF3QIR85DW"
    )
)


def test_a_parquet_footer_that_ends_the_process_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "x.parquet"
    path.write_bytes(ENDS_PROCESS)
    for read in (read_vector_file, lambda p: open_table(p, required=("path",))):
        with pytest.raises(InputError, match=r"x\.parquet: the decoder was ended by SIGABRT") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_a_legacy_checkpoint_with_a_storage_nobody_refers_to_is_refused(tmp_path: Path) -> None:
    """torch raises AssertionError."""
    out = io.BytesIO()
    torch.save([torch.zeros(2), torch.zeros(1, 2), ["c"], ["i"]], out, _use_new_zipfile_serialization=False)
    whole = out.getvalue()
    keys = pickle.dumps(["1"], protocol=2)
    at = whole.rindex(b"\x80\x02]", 0, len(whole))
    end = whole.index(b".", at) + 1
    for suffix, read in ((".pth", read_vector_file), (".pth", load_state)):
        path = tmp_path / f"x{suffix}"
        path.write_bytes(whole[:at] + keys + whole[end:])
        with pytest.raises((InputError, WeightsError), match=r"storage key|not a complete") as caught:
            read(path)
        assert "\n" not in str(caught.value)


def test_hdf5_that_the_library_never_ends_to_read_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LOCATLAS_LIMITS", "decoder_seconds=2")
    path = tmp_path / "x.h5sc"
    path.write_bytes(NEVER_ENDS)
    with pytest.raises(ImageRejectedError, match=r"x\.h5sc: takes longer to decode than the 2 s allowed"):
        decoding.read_cell_file(path)
