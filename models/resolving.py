"""From the name of an encoder to a spec that decides every vector: plan and weights settled. Reads weights files."""

from collections.abc import Sequence

from locatlas.errors import InputError
from locatlas.models import registry, weights
from locatlas.models.spec import EncoderSpec, Mapping, Passes, Precision

__all__ = ["resolve"]


def resolve(
    name: str,
    *,
    mapping: Mapping | None = None,
    passes: Passes | None = None,
    stains: Sequence[str] = (),
    seed: int | None = None,
    precision: Precision | None = None,
    available: Sequence[str] = (),
) -> EncoderSpec:
    """The spec of a registered encoder with its channel plan settled and its weights known: it has a fingerprint.

    Weights that are not on this machine are downloaded where their source allows it.

    Args:
        name: Registry name.
        mapping: `natural`, `random` or `replicate`; None keeps the registered one (`natural` for nearly all).
        passes: `joint` or `separate`; None keeps the registered one. `replicate` is always `separate`.
        stains: Channels to use; for `separate` in the order of the vector's parts, while `joint` has one for any order,
            as the network sees the same. () uses those registered with the plan, else, for `joint`, all that fit a slot
            of the encoder, and for `separate` the channels in `available`, in the order of the slots.
        seed: Of `random`, which needs one; None keeps the registered one.
        precision: `fp32` or `bf16`; None keeps the registered one. What runs between blocks is float32, but in an
            encoder that is registered otherwise, whose precision is kept.
        available: Channels that the data have; only looked at for `separate` without `stains`.

    Raises:
        UnknownNameError: If no encoder has that name.
        InputError: If mapping, passes, stains and seed contradict each other or the encoder's slots.
        WeightsError: If the weights are neither here nor to be had.
    """
    spec = registry.get(name)
    mapping = mapping or spec.mapping
    passes = "separate" if mapping == "replicate" else passes or spec.passes
    as_registered = (mapping, passes) == (spec.mapping, spec.passes) and seed in (None, spec.mapping_seed)
    if as_registered:
        seed = spec.mapping_seed
    chosen = tuple(stains) or (spec.stains if as_registered or passes == "separate" else ())
    # an encoder that was trained here was trained on its stains; a published one takes what there is
    keeps_stains = as_registered and registry.training(name) is not None
    if passes == "separate" and not stains and available and not keeps_stains:
        chosen = _in_slot_order(spec, available, mapping)
    if len(set(chosen)) != len(chosen):
        message = f"encoder {name}: stain named twice: {', '.join(chosen)}"
        raise InputError(message)
    if mapping != "replicate" and (unfit := [stain for stain in chosen if stain not in spec.slots]):
        message = (
            f"encoder {name}: no slot for {', '.join(unfit)} among {', '.join(spec.slots)}; "
            "channels 'replicate' take any"
        )
        raise InputError(message)
    if passes == "joint":
        chosen = spec.stains if set(chosen) == set(spec.stains) else _in_slot_order(spec, chosen, mapping)
    precision = precision or spec.precision
    settled = spec.with_changes(
        mapping=mapping,
        passes=passes,
        stains=chosen,
        mapping_seed=seed,
        precision=precision,
        residual=spec.residual if precision == spec.precision else "fp32",
    )
    if settled.weights_sha256 is None:
        settled = settled.with_changes(weights_sha256=weights.sha256_file(weights.locate(settled)))
    return settled


def _in_slot_order(spec: EncoderSpec, available: Sequence[str], mapping: Mapping) -> tuple[str, ...]:
    """Channels of the data, those with a slot first and in its order; others follow where the mapping takes them."""
    fitting = [slot for slot in spec.slots if slot in available]
    others = [channel for channel in available if channel not in spec.slots] if mapping == "replicate" else []
    return (*fitting, *others)
