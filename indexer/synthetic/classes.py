"""The localization classes that are drawn, with their names in both vocabularies. Data only."""

from dataclasses import dataclass

__all__ = ["CLASSES", "PatternClass", "class_by_label"]


@dataclass(frozen=True, slots=True, kw_only=True)
class PatternClass:
    """One localization.

    Attributes:
        label: OpenCell's category, also the name of the drawing function.
        hpa: HPA's location names for it; proteins of the class take them in turn, starting with the first.
        share: Range of the part of a protein's light that is in the pattern. The rest is diffuse, so a low share
            makes a protein hard to tell from a diffuse one.
        diffuse: Where the rest goes: weights of nucleoplasm and cytoplasm.
        companions: Labels that a second localization is taken from.
        survives_mitosis: Whether a mitotic cell keeps the pattern; else its light is spread over the cell.
    """

    label: str
    hpa: tuple[str, ...]
    share: tuple[float, float]
    diffuse: tuple[float, float]
    companions: tuple[str, ...]
    survives_mitosis: bool = False


# Names: OpenCell's 17 public categories; HPA's locations as paired with them in location_group_mapping.tsv of
# czi-ai/sub-cell-embed, column "Grouping OpenCell". Shares and companions were chosen by eye.
CLASSES: tuple[PatternClass, ...] = (
    PatternClass(
        label="nucleoplasm",
        hpa=("Nucleoplasm",),
        share=(0.62, 0.95),
        diffuse=(0.3, 0.7),
        companions=("cytoplasmic", "nuclear_punctae"),
    ),
    PatternClass(
        label="chromatin",
        hpa=("Nuclear speckles",),
        share=(0.7, 0.95),
        diffuse=(0.8, 0.2),
        companions=("nucleoplasm",),
        survives_mitosis=True,
    ),
    PatternClass(
        label="nuclear_punctae",
        hpa=("Nuclear bodies",),
        share=(0.2, 0.5),
        diffuse=(0.75, 0.25),
        companions=("nucleoplasm", "cytoplasmic"),
    ),
    PatternClass(
        label="nucleolus_gc",
        hpa=("Nucleoli",),
        share=(0.4, 0.8),
        diffuse=(0.75, 0.25),
        companions=("nucleoplasm",),
    ),
    PatternClass(
        label="nucleolus_fc_dfc",
        hpa=("Nucleoli fibrillar center",),
        share=(0.28, 0.6),
        diffuse=(0.75, 0.25),
        companions=("nucleoplasm",),
    ),
    PatternClass(
        label="nuclear_membrane",
        hpa=("Nuclear membrane",),
        share=(0.4, 0.8),
        diffuse=(0.5, 0.5),
        companions=("er", "cytoplasmic"),
    ),
    PatternClass(
        label="cytoplasmic",
        hpa=("Cytosol",),
        share=(0.75, 1.0),
        diffuse=(0.8, 0.2),
        companions=("nucleoplasm", "membrane"),
        survives_mitosis=True,
    ),
    PatternClass(
        label="er",
        hpa=("Endoplasmic reticulum",),
        share=(0.6, 0.95),
        diffuse=(0.15, 0.85),
        companions=("nuclear_membrane", "vesicles"),
        survives_mitosis=True,
    ),
    PatternClass(
        label="golgi",
        hpa=("Golgi apparatus",),
        share=(0.25, 0.6),
        diffuse=(0.2, 0.8),
        companions=("vesicles", "cytoplasmic"),
    ),
    PatternClass(
        label="mitochondria",
        hpa=("Mitochondria",),
        share=(0.5, 0.9),
        diffuse=(0.25, 0.75),
        companions=("cytoplasmic",),
        survives_mitosis=True,
    ),
    PatternClass(
        label="vesicles",
        hpa=("Vesicles", "Lysosomes", "Endosomes"),
        share=(0.2, 0.55),
        diffuse=(0.2, 0.8),
        companions=("cytoplasmic", "golgi"),
        survives_mitosis=True,
    ),
    PatternClass(
        label="centrosome",
        hpa=("Centrosome", "Centriolar satellite"),
        share=(0.03, 0.1),
        diffuse=(0.3, 0.7),
        companions=("cytoplasmic",),
        survives_mitosis=True,
    ),
    PatternClass(
        label="membrane",
        hpa=("Plasma membrane",),
        share=(0.55, 0.95),
        diffuse=(0.15, 0.85),
        companions=("vesicles", "cytoplasmic"),
        survives_mitosis=True,
    ),
    PatternClass(
        label="cytoskeleton",
        hpa=("Microtubules", "Actin filaments"),
        share=(0.5, 0.9),
        diffuse=(0.25, 0.75),
        companions=("cytoplasmic", "centrosome"),
        survives_mitosis=True,
    ),
    PatternClass(
        label="focal_adhesions",
        hpa=("Focal adhesion sites",),
        share=(0.12, 0.32),
        diffuse=(0.25, 0.75),
        companions=("cytoskeleton", "cytoplasmic"),
    ),
)


def class_by_label(label: str) -> PatternClass:
    """Look a class up.

    Raises:
        KeyError: If no class has the label.
    """
    return _BY_LABEL[label]


_BY_LABEL = {entry.label: entry for entry in CLASSES}
