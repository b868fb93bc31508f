"""What a public S3 bucket holds, by its anonymous listing. Uses the network."""

import re
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from dataclasses import dataclass
from urllib.parse import quote, urlencode

from fetching.errors import FetchError
from fetching.http import Session

__all__ = ["Thing", "digest_of", "list_objects", "parse_xml", "url_of"]

_MD5 = re.compile(r"[0-9a-f]{32}")
_PARTS = re.compile(r"[0-9a-f]{32}-[1-9]\d*")


@dataclass(frozen=True, slots=True)
class Thing:
    """An object: its key, bytes and digest as in `plan.Remote`."""

    key: str
    size: int
    digest: str | None


def url_of(bucket_url: str, key: str) -> str:
    """The address of an object.

    >>> url_of("https://b.s3.amazonaws.com/", "raw/A B+C_1.tif")
    'https://b.s3.amazonaws.com/raw/A%20B%2BC_1.tif'
    """
    return f"{bucket_url.rstrip('/')}/{quote(key, safe='/')}"


def digest_of(tag: str | None) -> str | None:
    """What an S3 entity tag proves: the md5 of the object, or of the digests of its parts.

    A tag is no md5 where a bucket encrypts with keys of its own (KMS), but then it cannot be read anonymously either.

    >>> digest_of('"d41d8cd98f00b204e9800998ecf8427e"'), digest_of("W/x")
    ('md5:d41d8cd98f00b204e9800998ecf8427e', None)
    """
    value = (tag or "").strip('"').lower()
    if _MD5.fullmatch(value):
        return f"md5:{value}"
    return f"etag:{value}" if _PARTS.fullmatch(value) else None


def list_objects(bucket_url: str, prefix: str, session: Session, *, page: int = 1000) -> Iterator[Thing]:
    """All objects whose keys begin so, page by page (ListObjectsV2, not signed).

    Args:
        bucket_url: The bucket's address, in either of S3's styles.
        prefix: Of the keys.
        session: How.
        page: Objects that are listed at once; S3 gives 1,000 at most.

    Raises:
        FetchError: If the bucket does not list, or answers something else.
    """
    token: str | None = None
    while True:
        asked = {"list-type": "2", "prefix": prefix, "max-keys": str(page)}
        if token is not None:
            asked["continuation-token"] = token
        url = f"{bucket_url.rstrip('/')}/?{urlencode(asked)}"
        root = parse_xml(session.read(url), url)
        if _name(root) != "ListBucketResult":
            message = f"{url}: not the listing of a bucket, but <{_name(root)}>"
            raise FetchError(message)
        for entry in root:
            if _name(entry) == "Contents":
                yield _thing(entry, url)
        token = _text(root, "NextContinuationToken")
        if _text(root, "IsTruncated") != "true":
            return
        if not token:
            message = f"{url}: the listing is cut off, with nothing to go on by"
            raise FetchError(message)


def parse_xml(body: bytes, url: str) -> ET.Element:
    """A document from a server that need not be trusted.

    Raises:
        FetchError: If it is not XML, or declares entities, which could make it grow without end.
    """
    if b"<!ENTITY" in body or b"\0" in body:  # NUL: UTF-16, in which the word would look otherwise
        message = f"{url}: declares entities; not read"
        raise FetchError(message)
    try:
        return ET.fromstring(body)
    except ET.ParseError as error:
        raise FetchError(f"{url}: not XML ({error})") from error


def _thing(entry: ET.Element, url: str) -> Thing:
    key, size = _text(entry, "Key"), _text(entry, "Size")
    if not key or size is None or not size.isdecimal():
        message = f"{url}: an entry without key or size"
        raise FetchError(message)
    return Thing(key, int(size), digest_of(_text(entry, "ETag")))


def _name(element: ET.Element) -> str:
    """The tag without its namespace, which is not the same on all servers."""
    return element.tag.rpartition("}")[2]


def _text(element: ET.Element, name: str) -> str | None:
    return next((child.text for child in element if _name(child) == name), None)
