"""What an atlas says of its own encoder: how images of a protein resemble each other, and sweeps. Reads the store."""

from collections.abc import Collection, Sequence
from typing import TYPE_CHECKING, Literal

import pyarrow as pa

from locatlas.query.asking.label_source import LabelSource
from locatlas.query.asking.profiles import Profile
from locatlas.query.asking.scope import Scope
from locatlas.query.asking.selection import Where
from locatlas.query.atlas_views import AtlasViews
from locatlas.types import Level

if TYPE_CHECKING:  # a look-up needs none of these
    from locatlas.query.answers.aggregate import How
    from locatlas.query.answers.resemblance import Sort
    from locatlas.query.answers.vote import Weights
    from locatlas.query.compare.result import Comparison
    from locatlas.query.sweep.every_k import SweepResult

__all__ = ["AtlasMeasures"]


class AtlasMeasures(AtlasViews):
    """How good the vectors of one atlas are, by several measures."""

    def proteins(
        self,
        *,
        of: Literal["fov", "cell"] | None = None,
        k: int | None = None,
        exclude: str = "protein",
        sort: "Sort" = "protein",
        worst_first: bool = False,
        mean_average_precision: bool = False,
        where: Where = (),
        label_source: LabelSource = "inherited",
        encoder: str | None = None,
        seed: int = 0,
    ) -> pa.Table:
        """How much the images of each protein resemble each other, against those of other proteins.

        Args:
            of: Images that are compared; None for FOVs, or cells where there are none.
            k: Neighbors that vote on each cell, to tell how much a protein's cells differ; None leaves this out.
            exclude: What a cell must not meet when it is voted on, as in `neighbors`.
            sort: By "protein", "within", "auc" or "heterogeneity", the best first.
            worst_first: The other way round; unknown numbers come last either way.
            mean_average_precision: Add the mean average precision of the images of each protein among those of others,
                with p; needs copairs (extra `copairs`).
            where: Filters on the images that are compared, and on the cells that vote.
            label_source: Localizations that are shown and that vote, as in `neighbors`.
            encoder: Name or fingerprint; None for the current one.
            seed: Of the pairs that are drawn where they are too many, and of the random rankings behind p.

        Returns:
            One row a protein: n_fovs and n_cells in the atlas, localizations, n_images compared, within (mean cosine of
            pairs of other fields), between and between_sd (with other proteins' images), auc, heterogeneity and entropy
            of the cells' votes, map, map_normalized, map_p and map_p_fdr. The table's metadata has the same over all
            proteins, `notes` and `definitions`.

        Raises:
            UnknownNameError: If a column, the order or the encoder is unknown.
            InputError: If no image has a protein, heterogeneity is asked for without k or without cells, or mean
                average precision without copairs or of more than 8,000 images.
        """
        from locatlas.query.answers.resemblance import protein_table

        scope = Scope(level=of, encoder=encoder, where=where, label_source=label_source)
        how = {"k": k, "exclude": exclude, "sort": sort, "worst_first": worst_first, "seed": seed}
        return protein_table(self._shelf, scope, mean_average_precision=mean_average_precision, **how)  # type: ignore[arg-type]

    def sweep(
        self,
        *,
        ks: Sequence[int] | None = None,
        group: str = "protein",
        protocol: Literal["leave-group-out", "kfold"] = "leave-group-out",
        folds: int = 5,
        seed: int = 0,
        weights: "Weights | Sequence[Weights]" = "uniform",
        temperature: float = 0.07,
        threshold: float = 0.5,
        labels: Literal["single", "multi"] = "single",
        level: Level | None = None,
        exclude: Literal["self", "fov", "protein"] = "protein",
        by: str | None = None,
        how: "How | None" = None,
        top: float | None = None,
        map_labels: str | None = None,
        where: Where = (),
        label_source: LabelSource = "inherited",
        profile: Profile | None = None,
        of: str | None = None,
        encoder: str | None = None,
        held_out: bool = False,
        allow_training_groups: bool = False,
        sample: int | None = None,
        keep_predictions: bool | Collection[int] = False,
        device: str = "cpu",
    ) -> "SweepResult":
        """How well k-NN recovers the annotated localizations, at every neighborhood size, from one search.

        Args:
            ks: Neighborhood sizes; None for 1 to 200 as far as there are references enough.
            group: Column whose values must not be split: rows of the query's own group never vote.
            protocol: Leave one group out, or grouped k-fold.
            folds: Of kfold.
            seed: Of folds and bootstrap.
            weights: One or several of uniform, distance, softmax.
            temperature: Of softmax votes.
            threshold: Of multi-label predictions.
            labels: "single" takes rows with exactly one localization, "multi" all labelled rows.
            level: As in `neighbors`.
            exclude: What else never votes, beside the query's group: "self", "fov" or "protein", each with those before
                it. A split by FOV, as papers often make it, is group "fov" with exclude "fov".
            by: Score what the cells of each "fov" or "protein" (or another column) say together.
            how: As in `classify`.
            top: As in `classify`.
            map_labels: Map that brings all localizations into one vocabulary, e.g. "hpa:opencell".
            where: Filters on the rows that take part at all.
            label_source: Localizations that are recovered: "inherited", or "annotated", among annotated cells only.
            profile: As in `neighbors`.
            of: As in `neighbors`.
            encoder: Name or fingerprint; None for the current one.
            held_out: Score only what the encoder was not trained on; the rest votes.
            allow_training_groups: Score what it was trained on, too, as if it were new.
            sample: Ask and score so many rows only, drawn by the seed; all vote. For atlases whose whole sweep takes
                too long.
            keep_predictions: Keep what was predicted for each row, its scores and its annotation: at every k, or at
                those named.
            device: Where the search runs: "cpu", or a torch device; the result is the same.

        Returns:
            Scores by k and vote, with what was left out and the definitions; `.plot(path)`, `.to_arrow()`.

        Raises:
            UnknownNameError: If the group's column or the encoder is not in the atlas.
            LeakageError: If the encoder was trained on rows or groups that would be scored, and neither `held_out` nor
                `allow_training_groups` says what to do.
            InputError: If no row has both a group and a label, or k exceeds the references.
        """
        from locatlas.query.answers.classify_units import Together
        from locatlas.query.asking.leakage import part_named
        from locatlas.query.sweep.run import evaluate

        scope = Scope(
            level=level,
            encoder=encoder,
            where=where,
            label_source=label_source,
            map_labels=map_labels,
            profile=profile,
            of=of,
        )
        return evaluate(
            self._shelf,
            scope,
            ks=ks,
            group=group,
            exclude=exclude,
            together=Together.named(by, how, top),
            part=part_named(held_out=held_out, allow_training_groups=allow_training_groups),
            sample=sample,
            protocol=protocol,
            folds=folds,
            seed=seed,
            weights=weights,
            temperature=temperature,
            threshold=threshold,
            labels_mode=labels,
            keep_predictions=keep_predictions,
            device=device,
        )

    def compare(
        self,
        with_encoder: str | None = None,
        *,
        encoder: str | None = None,
        k: int | None = None,
        group: str = "protein",
        exclude: Literal["self", "fov", "protein"] = "protein",
        labels: Literal["single", "multi"] = "single",
        weights: "Weights" = "uniform",
        temperature: float = 0.07,
        level: Level | None = None,
        map_labels: str | None = None,
        where: Where = (),
        label_source: LabelSource = "inherited",
        profile: Profile | None = None,
        of: str | None = None,
        allow_training_groups: bool = False,
        seed: int = 0,
        device: str = "cpu",
    ) -> "Comparison":
        """What a new encoder changes against an old one: neighbors, F1, and which proteins moved most.

        Only rows that both have are compared. Those that either was trained on are neighbors, but are not scored.

        Args:
            with_encoder: Name or fingerprint of the old one; None for the one that the new one was trained from.
            encoder: Name or fingerprint of the new one; None for the current one.
            k: Neighbors that are compared and that vote; None for 20, or as many as every row may meet.
            group: Column whose values are no neighbors of their own, and that the intervals draw.
            exclude: As in `sweep`.
            labels: As in `sweep`.
            weights: Of the votes.
            temperature: Of softmax votes.
            level: As in `neighbors`.
            map_labels: As in `sweep`.
            where: Filters on the rows that take part at all.
            label_source: As in `sweep`.
            profile: As in `neighbors`.
            of: As in `neighbors`.
            allow_training_groups: Score what the encoders were trained on, too, as if it were new.
            seed: Of the bootstrap.
            device: As in `sweep`.

        Returns:
            Overlap of neighbors, F1 by both with the intervals of the difference, and what moved most; `.to_arrow()`.

        Raises:
            UnknownNameError: If a column or an encoder is not in the atlas.
            LeakageError: If nothing is left that neither was trained on.
            InputError: If they have no rows in common, or k exceeds what some row may meet.
        """
        from locatlas.query.compare.run import CompareHow, compare

        scope = Scope(
            level=level,
            encoder=encoder,
            where=where,
            label_source=label_source,
            map_labels=map_labels,
            profile=profile,
            of=of,
        )
        how = CompareHow(
            k=k,
            group=group,
            exclude=exclude,
            labels=labels,
            weights=weights,
            temperature=temperature,
            part="all" if allow_training_groups else "held-out",
            seed=seed,
            device=device,
        )
        return compare(self._shelf, scope, with_encoder, how)
