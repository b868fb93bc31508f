"""What a Zenodo record holds. Uses the network."""

import json
import re
from urllib.parse import quote

from fetching.errors import FetchError
from fetching.http import Session
from fetching.plan import Remote, relative_path

__all__ = ["ZENODO", "record_files", "split_url"]

ZENODO = "https://zenodo.org"
_FILE = re.compile(r"(https?://[^/]+)/records?/(\d+)/files/([^/?]+)")


def split_url(url: str) -> tuple[str, str, str] | None:
    """Site, record and file of an address like https://zenodo.org/records/1/files/a.pth; None for others."""
    match = _FILE.fullmatch(url)
    return (match[1], match[2], match[3]) if match else None


def record_files(record: str, session: Session, *, site: str = ZENODO) -> dict[str, Remote]:
    """The files of a record by name, with the sizes and md5 that Zenodo keeps of them.

    Args:
        record: Its number.
        session: How.
        site: Where the record is.

    Raises:
        FetchError: If there is no such record, or the answer is something else.
    """
    url = f"{site}/api/records/{record}"
    try:
        listed = json.loads(session.read(url))["files"]
        return {
            str(one["key"]): Remote(
                url=f"{site}/api/records/{record}/files/{quote(str(one['key']))}/content",
                path=relative_path([str(one["key"])]),
                size=int(one["size"]),
                digest=_digest(str(one["checksum"])),
            )
            for one in listed
        }
    except (ValueError, KeyError, TypeError) as error:
        raise FetchError(f"{url}: not a record as Zenodo describes it ({error!r})") from error


def _digest(checksum: str) -> str:
    if not re.fullmatch(r"md5:[0-9a-f]{32}|sha256:[0-9a-f]{64}", checksum):
        message = f"checksum {checksum!r}"
        raise ValueError(message)
    return checksum
