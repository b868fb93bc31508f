"""What trained heads make of an atlas' vectors: probe. Reads the store."""

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Literal

from locatlas.errors import InputError
from locatlas.query.asking.label_source import LabelSource
from locatlas.query.asking.profiles import Profile
from locatlas.query.asking.scope import Scope
from locatlas.query.asking.selection import Where
from locatlas.query.atlas_views import AtlasViews
from locatlas.types import Level

if TYPE_CHECKING:  # a look-up needs none of these
    from locatlas.models.training.heads import HeadKind
    from locatlas.query.probe.result import ProbeResult

__all__ = ["AtlasProbe"]


class AtlasProbe(AtlasViews):
    """How well heads do that are trained on the vectors of one atlas."""

    def probe(
        self,
        *,
        head: "HeadKind" = "linear",
        labels: Literal["single", "multi"] = "single",
        loss: Literal["ce", "bce", "focal"] | None = None,
        group: str = "protein",
        folds: int = 5,
        fractions: Sequence[float] = (1.0,),
        seeds: int = 3,
        seed: int = 0,
        validation: float = 0.2,
        threshold: float = 0.5,
        steps: int = 500,
        lr: float | None = None,
        level: Level | None = None,
        map_labels: str | None = None,
        where: Where = (),
        label_source: LabelSource = "inherited",
        profile: Profile | None = None,
        of: str | None = None,
        encoder: str | None = None,
        held_out: bool = False,
        allow_training_groups: bool = False,
        device: str = "cpu",
        progress: Callable[[str, int, int], None] | None = None,
    ) -> "ProbeResult":
        """How well heads trained on the vectors recover the localizations of groups that they never saw.

        The backbone stays frozen, the head is trained: what the paper calls zero-shot.

        Args:
            head: "linear"; "mlp", d-512-256-C with dropout; "wide", one hidden layer of 1024.
            labels: "single" takes rows with exactly one localization, "multi" all labelled rows.
            loss: "ce", "bce" or "focal"; None for ce with single labels and bce with several.
            group: Column whose values are not split between folds, nor between training and validation.
            folds: Number of folds.
            fractions: Shares of the groups outside a fold that heads are trained on, in (0, 1]; nested.
            seeds: Repeats, each with other folds, fractions and initial weights.
            seed: The first of them.
            validation: Share of the groups outside a fold by which training is stopped.
            threshold: Of multi-label predictions, in (0, 1); the top localization is predicted in any case.
            steps: Most optimizer steps of a head.
            lr: Learning rate; None for that of the head.
            level: As in `neighbors`.
            map_labels: Map that brings all localizations into one vocabulary, e.g. "hpa:opencell".
            where: Filters on the rows that take part at all.
            label_source: Localizations that are learned and recovered, as in `sweep`.
            profile: As in `neighbors`.
            of: As in `neighbors`.
            encoder: Name or fingerprint; None for the current one.
            held_out: Score only what the encoder was not trained on; heads are trained on the rest, too.
            allow_training_groups: Score what it was trained on, too, as if it were new.
            device: Where heads are trained: "cpu", or a torch device.
            progress: Told how many heads are trained.

        Returns:
            Scores by fraction, over the seeds, with what was left out and the definitions; `.plot(path)`.

        Raises:
            UnknownNameError: If the group's column or the encoder is not in the atlas.
            LeakageError: If the encoder was trained on rows or groups that would be scored, and neither `held_out` nor
                `allow_training_groups` says what to do.
            InputError: If no row has both a group and a label, or an option is out of range.
        """
        # torch is not needed to ask for neighbors
        from locatlas.models.training.fit_head import HeadPlan
        from locatlas.models.training.heads import HeadSpec
        from locatlas.query.asking.leakage import part_named
        from locatlas.query.probe.run import probe_atlas

        if seeds < 1 or seed < 0:
            message = f"{seeds} seeds from {seed} on: at least 1, from at least 0 on, needed"
            raise InputError(message)
        scope = Scope(
            level=level,
            encoder=encoder,
            where=where,
            label_source=label_source,
            map_labels=map_labels,
            profile=profile,
            of=of,
        )
        return probe_atlas(
            self._shelf,
            scope,
            plan=HeadPlan(head=HeadSpec(kind=head), labels=labels, loss=loss, threshold=threshold, steps=steps, lr=lr),
            group=group,
            part=part_named(held_out=held_out, allow_training_groups=allow_training_groups),
            folds=folds,
            fractions=fractions,
            seeds=range(seed, seed + seeds),
            validation=validation,
            device=device,
            progress=progress,
        )
