"""The encoder that a command is to use: what a user asked for, and what the atlas has. Reads the store."""

import logging
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from functools import cache

from locatlas.errors import EncoderMismatchError, InputError, UnknownNameError
from locatlas.indexer.store.encoders import StoredEncoder, current, shown, stored_encoders
from locatlas.indexer.store.tables import Store
from locatlas.models import registry
from locatlas.models.crops import CropPlan, default_crop
from locatlas.models.spec import EncoderSpec, Mapping, Passes, Precision, Storage

_log = logging.getLogger(__name__)

__all__ = ["DEFAULT_ENCODER", "EncoderRequest", "choose", "require_stains", "settle", "usual_channels"]

DEFAULT_ENCODER = "locatlas_pico.synthetic"


def usual_channels(channels: Iterable[Sequence[str]]) -> tuple[str, ...]:
    """The channels that most images have, which decide the passes of a new encoder; () where there are no images."""
    counts = Counter(tuple(names) for names in channels)
    return counts.most_common(1)[0][0] if counts else ()


def require_stains(stains: Iterable[str], channels: Iterable[Sequence[str]], whose: str) -> None:
    """Refuse stains that no image has, by which every image would lack a channel.

    Args:
        stains: That were asked for.
        channels: Of each image; without images nothing is refused.
        whose: Which images these are, e.g. "image at level fov".

    Raises:
        UnknownNameError: If no image has one of them.
    """
    known = {name for names in channels for name in names}
    for stain in stains:
        if known and stain not in known:
            raise UnknownNameError("stain", stain, known, hint=f"no {whose} has it")


@dataclass(frozen=True, slots=True, kw_only=True)
class EncoderRequest:
    """What a user asked for; None where they said nothing."""

    name: str | None = None
    mapping: Mapping | None = None
    passes: Passes | None = None
    stains: tuple[str, ...] = ()
    seed: int | None = None
    precision: Precision | None = None
    crop: CropPlan | None = None
    storage: Storage | None = None

    @property
    def names_no_plan(self) -> bool:
        """Whether mapping, passes, stains and seed were all left open."""
        return (self.mapping, self.passes, self.stains, self.seed) == (None, None, (), None)

    @property
    def is_empty(self) -> bool:
        """Whether nothing was asked for, so that the atlas' own encoder is meant."""
        return self == EncoderRequest()

    def fits(self, spec: EncoderSpec) -> bool:
        """Whether a spec is all that was asked for, stains in any order."""
        pairs = (
            (self.name, spec.name),
            (self.mapping, spec.mapping),
            (self.passes, spec.passes),
            (sorted(self.stains) or None, sorted(spec.stains)),
            (self.seed, spec.mapping_seed),
            (self.precision, spec.precision),
            (self.crop, spec.crop),
            (self.storage, spec.storage),
        )
        return all(asked is None or asked == its for asked, its in pairs)


def choose(
    store: Store, level: str, request: EncoderRequest, *, available: tuple[str, ...], adding: bool, cuts: bool = False
) -> StoredEncoder:
    """The encoder that a command is to use at a level.

    Args:
        store: The atlas.
        level: "fov" or "cell".
        request: What the user asked for.
        available: Channels of the images at hand; named in the spec where each takes a pass of its own.
        adding: Whether another encoder than the current one may be meant (`embed`), or only it (`index`).
        cuts: Whether cells are to be cut out of fields, so that the encoder needs a crop.

    Returns:
        The encoder with its state in the atlas; "building" if it is new.

    Raises:
        EncoderMismatchError: If not `adding` and something else than the current encoder was asked for.
        InputError: If nothing was asked for and it is not clear which encoder is meant, or its crop is missing.
    """
    chosen = _chosen(
        store, level, request if cuts else replace(request, crop=None), available=available, adding=adding, cuts=cuts
    )
    if cuts and chosen.spec.crop is None:
        message = (
            f"{store.folder.path}: its {level} encoder {shown(chosen.spec)} embeds whole images and cannot cut cells; "
            f"add one that does with `locatlas embed --level cell --crop 41um`"
        )
        raise InputError(message)
    stains = chosen.spec.stains
    if chosen.spec.passes == "separate" and request.stains and request.stains != stains:
        _log.warning(
            "%s holds vectors by %s, whose parts stand in the order %s: these are meant, as another order of the same "
            "numbers changes no similarity",
            *(store.folder.path, shown(chosen.spec), ",".join(stains)),
        )
    return chosen


def _chosen(
    store: Store, level: str, request: EncoderRequest, *, available: tuple[str, ...], adding: bool, cuts: bool
) -> StoredEncoder:
    here = current(store, level)
    if here is not None and here.is_imported:
        if adding and request.is_empty:
            message = f"{store.folder.path}: vectors of {here.spec.name} were imported; name an encoder with --encoder"
            raise InputError(message)
        here = None
    known = [e for e in stored_encoders(store, level) if not e.is_imported]
    if here is not None and (request.is_empty or (not adding and request.fits(here.spec))):
        return here
    if request.is_empty and len(known) > 1:
        message = (
            f"{store.folder.path}: several {level} encoders were begun and none is complete; name one with --encoder: "
            + ", ".join(sorted(shown(e.spec) for e in known))
        )
        raise InputError(message)
    if len(known) == 1 and (request.is_empty or request.fits(known[0].spec)) and here is None:
        return known[0]  # an interrupted first run, continued
    like = here.spec if here else (known[0].spec if known else None)
    spec = settle(request, available=available, like=like, cuts=cuts)
    exactly = [e for e in known if e.fingerprint == spec.fingerprint]
    found = next(iter([*exactly, *(e for e in known if e.spec.sees_the_same_as(spec))]), None)
    if found is None:
        found = _of_an_earlier_version(store, known, spec, request)
    if here is not None and not adding and (found is None or found.fingerprint != here.fingerprint):
        message = (
            f"{store.folder.path}: its {level} encoder is {shown(here.spec)}, asked for {shown(spec)}. "
            f"Leave --encoder and the plan out to use it, or add the other with `locatlas embed`"
        )
        raise EncoderMismatchError(message)
    return found or StoredEncoder(level, spec, "building")


def _of_an_earlier_version(
    store: Store, known: Sequence[StoredEncoder], spec: EncoderSpec, request: EncoderRequest
) -> StoredEncoder | None:
    """What the atlas has by the same encoder but for its residual, if that is meant; where it is not, this is told."""
    before = next((e for e in known if e.spec.residual != spec.residual and _but_for_residual(e.spec, spec)), None)
    if before is None or request.precision is None or before.state == "building":
        return before  # nobody asked for another one, or a run that was interrupted goes on
    stays = "; leave --precision out to stay with it" if before.state == "current" else ""
    _log.warning(
        "%s holds vectors by %s, whose bf16 rounds between blocks as well, as an earlier version did; asked for is "
        "another encoder, %s%s", store.folder.path, shown(before.spec), shown(spec), stays
    )  # fmt: skip
    return None


def _but_for_residual(one: EncoderSpec, other: EncoderSpec) -> bool:
    return one.precision == other.precision and one.with_changes(residual=other.residual).sees_the_same_as(other)


@cache
def _tell_precision(name: str, precision: Precision, registered: Precision) -> None:
    """Once in a process: several levels and the check before an atlas is made settle the same encoder."""
    _log.warning(
        "%s runs in %s, which is faster on this machine and rounds its vectors a little; --precision %s does not round",
        name,
        precision,
        registered,
    )


def settle(
    request: EncoderRequest, *, available: tuple[str, ...], like: EncoderSpec | None, cuts: bool = False
) -> EncoderSpec:
    """The spec that a request means, with its weights known.

    Args:
        request: What the user asked for.
        available: Channels of the images at hand.
        like: Encoder that the atlas already uses, None in a new atlas. Where the request names no other, it gives the
            name; where it names no other encoder, it gives precision with residual, and storage; and where it names no
            plan either, the plan. Its crop is taken by any encoder that was not trained here on one of its own, so that
            encoders are compared on the same pixels.
        cuts: Whether cells are cut out of fields: the spec gets a crop.

    Raises:
        UnknownNameError: If no encoder has the name.
        WeightsError: If its weights are not to be had.
    """
    from locatlas.models.encode import resolve
    from locatlas.models.hardware import helpful_precision

    name = request.name or (like.name if like else DEFAULT_ENCODER)
    same = like if like is not None and like.name == name else None
    trained_here = registry.training(name) is not None
    # an atlas stays at the precision it began with, whatever machine continues it
    precision = request.precision or (same.precision if same else None)
    if precision is None and not trained_here:
        registered = registry.get(name)
        precision = helpful_precision(registered)
        if precision != registered.precision:
            _tell_precision(name, precision, registered.precision)
    if same and request.names_no_plan:
        request = replace(request, mapping=same.mapping, passes=same.passes, stains=same.stains, seed=same.mapping_seed)
    spec = resolve(
        name,
        mapping=request.mapping,
        passes=request.passes,
        stains=request.stains,
        seed=request.seed,
        precision=precision,
        available=available,
    )
    if same and request.precision is None and same.precision == spec.precision:
        spec = spec.with_changes(residual=same.residual)
    if storage := request.storage or (same.storage if same else None):
        spec = spec.with_changes(storage=storage)
    if not cuts:
        return spec.with_changes(crop=None)
    # one that was trained on crops takes no others unless they are asked for
    own = spec.crop if trained_here else None
    return spec.with_changes(crop=request.crop or own or (like.crop if like else None) or default_crop(name))
