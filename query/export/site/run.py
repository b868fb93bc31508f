"""A copy of an atlas' page as files: chosen, told, answered, drawn. Reads the store, writes files."""

import asyncio
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from locatlas.errors import InputError
from locatlas.query.export.site import answers
from locatlas.query.export.site.asking import Api, api_of
from locatlas.query.export.site.choose import Choice, SiteRequest, choose
from locatlas.query.export.site.folder import Folder, check_site_target, whole_site
from locatlas.query.export.site.page_files import page_files
from locatlas.query.serve.failures import without_paths

__all__ = ["LOOK", "SiteExported", "SiteRequest", "export_site"]

LOOK = {"nucleus": "3a6bff", "protein": "ffd23e"}
"""Channels of the pictures with their colours: as the page shows them at first."""

LOW, HIGH = 1, 99.8
"""Percentiles of the whole image that are black and full: as the page has them at first."""

_AT_ONCE = 4
_POINT_BYTES = 150
"""About what a point of a map takes, its vote included."""

_SAMPLE = 6

Tell = Callable[[str], None]
Progress = Callable[[str, int, int], None]


@dataclass(frozen=True, slots=True, kw_only=True)
class SiteExported:
    """What was written.

    Attributes:
        path: Folder.
        encoders: Name and fingerprint by level.
        proteins: With a page.
        images: With a page.
        pictures: Of images, those without a page among them.
        maps: Levels with a map.
        files: All.
        bytes: Of all files.
        notes: What a reader must know.
    """

    path: str
    encoders: dict[str, dict[str, str]]
    proteins: int
    images: int
    pictures: int
    maps: list[str]
    files: int
    bytes: int
    notes: list[str] = field(default_factory=list)

    def to_dict(self) -> dict[str, Any]:
        """The JSON document of `export site`."""
        return asdict(self)


def export_site(
    atlas: Path, out: Path, request: SiteRequest, *, overwrite: bool, tell: Tell, progress: Progress | None = None
) -> SiteExported:
    """Write a site.

    Args:
        atlas: Folder of the atlas.
        out: Folder of the site, new, empty or a site.
        request: What it is to hold.
        overwrite: Replace a site that is there.
        tell: Says before the writing how large it gets.
        progress: Shows how far it is: stage, done, total.

    Raises:
        UnknownNameError: If there is no such encoder.
        InputError: If `out` cannot be used, the site gets too large, or the atlas changes meanwhile.
        OSError: If it cannot be written; what was there stays.
    """
    check_site_target(out, overwrite=overwrite)
    work = _written(atlas, out, request, overwrite=overwrite, tell=tell, progress=progress or (lambda *_: None))
    return asyncio.run(work)


async def _written(
    atlas: Path, out: Path, request: SiteRequest, *, overwrite: bool, tell: Tell, progress: Progress
) -> SiteExported:
    async with api_of(atlas) as api:
        before = api.desk.store.stamp()
        choice = await choose(api, request)
        mark = {"made": datetime.now(UTC).isoformat(timespec="seconds"), "locatlas": choice.status["locatlas"]}
        with whole_site(out, most_bytes=request.most_bytes, overwrite=overwrite, said=mark) as folder:
            writer = _Writer(api, choice, folder, progress)
            tell(await writer.foretold())
            await writer.answers()
            maps = await writer.maps()
            await writer.pictures()
            writer.site(mark["made"], maps)
            if api.desk.store.stamp() != before:
                message = f"{api.desk.name}: was written to meanwhile; export it again"
                raise InputError(message)
    return writer.told(out, maps)


class _Writer:
    """Writes the parts of one site."""

    def __init__(self, api: Api, choice: Choice, folder: Folder, progress: Progress) -> None:
        self._api, self._choice, self._folder, self._progress = api, choice, folder, progress
        self._pages = _in_order([one for images in choice.images.values() for one in images])
        self._packs: dict[str, int] = {}
        self._near: set[str] = set()
        self._ids: list[str] = []
        self._without: list[int] = []
        self._stored: str | None = None
        self._n_stored = 0

    async def foretold(self) -> str:
        """How many files and bytes it comes to, by a sample.

        Raises:
            InputError: If that is more than may be.
        """
        choice, pages = self._choice, self._pages
        sample = [pages[i * len(pages) // _SAMPLE] for i in range(min(_SAMPLE, len(pages)))]
        size = 0.0
        for one in sample:
            said = await answers.image_pack(self._api, choice, [one])
            picture = await self._picture(one, self._px(one["level"]))
            size += (len(repr(said)) + len(picture or b"")) / max(1, len(sample))
        named = choice.proteins[:: max(1, len(choice.proteins) // _SAMPLE)]
        each = [len(repr(await answers.protein_pack(self._api, choice.without_images(), one))) for one in named]
        points = sum(kept["points"] for kept in choice.maps())
        total = size * len(pages) + sum(each) / max(1, len(each)) * len(choice.proteins) + _POINT_BYTES * points
        files = len(choice.proteins) + len(pages)
        self._folder.check(files, int(total))
        return (
            f"{len(choice.proteins)} proteins and {len(pages)} images with a page each, about {files + 20:,} files and "
            f"{max(1, total / 1e6):,.0f} MB; pictures of neighbors beyond these images come on top"
        )

    async def answers(self) -> None:
        """Write the answers on each protein and its images, the curves, and what was measured."""
        work: list[Callable[[], Any]] = []
        for number, protein in enumerate(self._choice.proteins):
            work.append(partial(self._protein, number, protein))
        nameless = self._choice.images.get(None, [])
        for start in range(0, len(nameless), answers.PACK):
            work.append(partial(self._nameless, len(work), nameless[start : start + answers.PACK]))
        counted = iter(range(1, len(work) + 1))
        await answers.in_turn(work, _AT_ONCE, lambda: self._progress("answers", next(counted), len(work)))
        curves, shards = await answers.measured(self._api)
        self._folder.write_data("sweeps", curves)
        for name, found in shards.items():
            self._folder.write_data(f"measured_{name}", found)

    async def _protein(self, number: int, protein: dict[str, Any]) -> None:
        self._keep(number, await answers.protein_pack(self._api, self._choice, protein))

    async def _nameless(self, number: int, images: list[dict[str, Any]]) -> None:
        self._keep(number, {"images": await answers.image_pack(self._api, self._choice, images)})

    def _keep(self, number: int, pack: dict[str, Any]) -> None:
        self._packs |= dict.fromkeys(pack["images"], number)
        self._near.update(answers.near_ids(pack, self._choice.shown))
        self._folder.write_data(f"pack_{number}", pack)

    async def maps(self) -> dict[str, list[str]]:
        """Write the stored maps of the encoders, and votes on their points; methods by level, the last made first."""
        methods: dict[str, list[str]] = {}
        for kept in self._choice.maps():
            level, method = kept["level"], kept["method"]
            ask = {"encoder": self._choice.encoder(kept["of"] or level), "map_labels": self._choice.map_labels}
            text = await answers.table_text(self._api, "points", level=level, method=method, **ask)
            self._folder.write_data(f"points_{level}_{method}", text)
            if level not in methods:
                votes = await answers.table_text(self._api, "points/confidence", level=level, **ask)
                self._folder.write_data(f"votes_{level}", votes)
            methods.setdefault(level, []).append(method)
        return methods

    async def pictures(self) -> None:
        """Draw images with a page, and those that are among the neighbors of one."""
        beyond = sorted(self._near - {one["id"] for one in self._pages})
        wanted = [(one, self._px(one["level"])) for one in self._pages]
        wanted += [({"id": name}, self._px("cell")) for name in beyond]
        self._ids = [one["id"] for one, _ in wanted]
        counted = iter(range(1, len(wanted) + 1))

        async def draw(number: int, one: dict[str, Any], px: int) -> None:
            picture = await self._picture(one, px)
            if picture is None:
                self._without.append(number)
            else:
                self._folder.write(f"pictures/{number // 1000}/{number}.webp", picture)

        work: list[Callable[[], Any]] = [partial(draw, i, *one) for i, one in enumerate(wanted)]
        await answers.in_turn(work, _AT_ONCE, lambda: self._progress("pictures", next(counted), len(work)))

    async def _picture(self, one: dict[str, Any], px: int) -> bytes | None:
        """As WebP; None where neither image nor thumbnail is there."""
        image = one if "channels" in one else (await self._api.get(f"images/{one['id']}")).document()
        wanted = ",".join(f"{name}:{code}" for name, code in LOOK.items() if name in image["channels"])
        found = await self._api.picture(image["id"], channels=wanted or None, low=LOW, high=HIGH, size=px)
        if found.status != 200:
            return None
        if found.headers["x-locatlas-pixels"] == "thumbnail":
            self._n_stored += 1
            self._stored = found.headers.get("x-locatlas-reason")
        return found.body

    def _px(self, level: str) -> int:
        px = self._choice.request.px
        return px if level == "fov" else max(16, px // 2)

    def site(self, made: str, maps: dict[str, list[str]]) -> None:
        """Write what every view needs, and last the page that shows it."""
        choice = self._choice
        first = {name: images[0] for name, images in choice.images.items() if name is not None and images}
        proteins = [{**one, "example": first.get(one["protein"])} for one in choice.proteins]
        packs = [self._packs[one["id"]] for one in self._pages]
        names = {"proteins": proteins, "ids": self._ids, "packs": packs, "without": sorted(self._without)}
        self._folder.write_data("names", names)
        look = [[name, f"#{code}"] for name, code in LOOK.items()]
        said = {
            "made": made, "limit": choice.request.limit, "beyond": choice.left_out, "look": look, "maps": maps,
            "status": _status(self._api, choice), "map_labels": choice.map_labels,
        }  # fmt: skip
        self._folder.write_data("site", said)
        files = page_files()
        index = files.pop("index.html")
        for name, content in files.items():
            self._folder.write(name, content)
        self._folder.write("index.html", index)

    def told(self, out: Path, maps: dict[str, list[str]]) -> SiteExported:
        """What was written, once it is."""
        choice, notes = self._choice, list(self._api.notes)
        if choice.left_out:
            notes.append(f"{choice.left_out} images have no page of their own; --limit sets how many of a protein have")
        if self._n_stored:
            notes.append(f"{self._n_stored} pictures are the stored thumbnails, in their own colours: {self._stored}")
        if self._without:
            notes.append(f"{len(self._without)} images have no picture")
        if missing := [level for level in choice.levels if level not in maps]:
            notes.append(f"no map of level {' and '.join(missing)} is stored: locatlas map draws one")
        return SiteExported(
            path=str(out),
            encoders={
                level: {"name": one.spec.name, "fingerprint": one.fingerprint} for level, one in choice.encoders.items()
            },
            proteins=len(choice.proteins),
            images=len(self._pages),
            pictures=len(self._ids) - len(self._without),
            maps=sorted(maps),
            files=self._folder.files,
            bytes=self._folder.bytes,
            notes=notes,
        )


def _in_order(images: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Fields, then cells, each by id: the order in which the API lists ids."""
    return sorted(images, key=lambda one: (one["level"] != "fov", one["id"]))


def _status(api: Api, choice: Choice) -> dict[str, Any]:
    """The status as the site has it: what it does not hold is not listed, and nobody writes to it."""
    prints = {(level, one.fingerprint) for level, one in choice.encoders.items()}
    levels = [{**one, "vectors": one["level"] in choice.asked} for one in choice.status["levels"]]
    return {
        **choice.status,
        "levels": levels,
        "encoders": [one for one in choice.status["encoders"] if (one["level"], one["fingerprint"]) in prints],
        "stored": {**choice.status["stored"], "maps": choice.maps()},
        "stale": [without_paths(line, api.desk.hidden()) for line in choice.status["stale"]],
        "being_written": False,
    }
