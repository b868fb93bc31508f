"""The answers that a site holds: what the page asks of a server, asked of the API and kept by pack. No files."""

import asyncio
import base64
from collections.abc import Callable, Iterator, Mapping
from typing import Any

from locatlas.errors import LocatlasError
from locatlas.query.export.site.asking import Answered, Api
from locatlas.query.export.site.choose import Choice

__all__ = ["PACK", "image_pack", "in_turn", "kept", "measured", "near_ids", "protein_pack", "table_text"]

PACK = 50
"""Images without a protein's name in one file."""

Pack = dict[str, Any]


def kept(answered: Answered) -> list[Any]:
    """Status and document, as the page's source reads them.

    Raises:
        LocatlasError: If the API failed, rather than said why there is no answer.
    """
    if answered.status >= 500:
        message = f"an answer failed: {answered.document()['error']}"
        raise LocatlasError(message)
    return [answered.status, answered.document()]


async def protein_pack(api: Api, choice: Choice, protein: Mapping[str, Any]) -> Pack:
    """All that the page shows of a protein, and of its images that have a page.

    Returns:
        protein, classify by the level that its vector is made of ("protein" for the usual one), neighbors by level,
        images by id: each answer as status and document.
    """
    name = protein["protein"]
    images, mapped = choice.images[name], choice.map_labels
    whole = (await api.get(f"proteins/{name}", limit=1)).document()
    votes: dict[str, Any] = {}
    near: dict[str, Any] = {}
    for level in choice.levels:
        of = choice.of if level == "protein" else level
        encoder = choice.encoder(of or choice.asked[0])
        ask = {"protein": name, "encoder": encoder, "map_labels": mapped}
        votes[level] = kept(await api.get("classify", level="protein", of=of, **ask))
        of = of if level == "protein" else None
        near[level] = kept(await api.get("neighbors", level=level, of=of, **ask))
    return {
        "protein": [200, {**whole, "images": images}],
        "classify": votes,
        "neighbors": near,
        "images": await image_pack(api, choice, images),
    }


async def image_pack(api: Api, choice: Choice, images: list[dict[str, Any]]) -> Pack:
    """All that the page shows of images, by id."""
    found = await asyncio.gather(*(_image(api, choice, one["id"], one["level"]) for one in images))
    return {one["id"]: said for one, said in zip(images, found, strict=True)}


async def _image(api: Api, choice: Choice, name: str, level: str) -> Pack:
    said: Pack = {"image": kept(await api.get(f"images/{name}"))}
    if level in choice.asked:
        ask = {"id": name, "level": level, "encoder": choice.encoder(level), "exclude": "protein"}
        ask["map_labels"] = choice.map_labels
        said["classify"] = kept(await api.get("classify", **ask))
        said["neighbors"] = kept(await api.get("neighbors", **ask))
    return said


def near_ids(pack: Mapping[str, Any], shown: tuple[str, ...]) -> Iterator[str]:
    """Images of the shown levels among the neighbors and voters of a pack of a protein, or of one image."""
    for name in ("classify", "neighbors"):
        answers = pack.get(name, {})
        for status, document in answers.values() if isinstance(answers, dict) else [answers]:
            if status != 200 or document["level"] not in shown:
                continue
            if name == "neighbors":
                yield from (hit["id"] for hit in document["hits"])
            else:
                yield from (one for item in document["items"] for one in item["neighbors"])
    for image in pack.get("images", {}).values():
        yield from near_ids(image, shown)


async def measured(api: Api) -> tuple[list[Any], dict[str, dict[str, Any]]]:
    """Stored curves, and the measurements that the page shows of them, by the first two digits of their ids."""
    curves = kept(await api.get("sweeps"))
    ids = sorted({point["cells"][0] for curve in curves[1]["curves"] for point in curve["points"]})
    found: dict[str, dict[str, Any]] = {}
    for name in ids:
        found.setdefault(name[:2], {})[name] = kept(await api.get(f"benchmarks/{name}"))
    return curves, found


async def table_text(api: Api, path: str, **parameters: Any) -> Any:
    """An Arrow stream as base64, or status and document where there is none."""
    answered = await api.get(path, **parameters)
    return base64.b64encode(answered.body).decode() if answered.status == 200 else kept(answered)


async def in_turn(work: list[Callable[[], Any]], at_once: int, done: Callable[[], None]) -> None:
    """Run pieces of work, so many at once."""
    waiting = iter(work)

    async def one_lane() -> None:
        for piece in waiting:
            await piece()
            done()

    # no TaskGroup: what fails is told as it is, and not as a group of one
    lanes = [asyncio.create_task(one_lane()) for _ in range(at_once)]
    try:
        await asyncio.gather(*lanes)
    finally:
        for lane in lanes:
            lane.cancel()
        await asyncio.gather(*lanes, return_exceptions=True)
