"""The JSON documents of `index`, `embed`, `reembed` and `import-embeddings`."""

from pydantic import Field

from locatlas.query.documents.asking import EncoderName
from locatlas.query.documents.base import Document as _Document

__all__ = ["ImportDocument", "IndexDocument"]


class QuarantinedSource(_Document):
    """A source that could not be used."""

    source: str
    reason: str


class SegmentedFields(_Document):
    """What the search for cells did."""

    fields: int = Field(ge=0, description="fields that were searched in this run")
    cells: int = Field(ge=0, description="cells found in them")
    empty: int = Field(ge=0, description="fields among them without any")
    unchanged: int = Field(ge=0, description="fields that were searched before, unchanged")
    uncovered: list[str] = Field(description="ids of fields that the given masks or table say nothing of")
    replaced: int = Field(ge=0, description="cells of before that are not there any more")
    segmenters: dict[str, int] = Field(description="fields by what found their cells")


class MaintainedTables(_Document):
    """What a run did so that files stay few."""

    merged: int = Field(ge=0, description="how often the fragments of a table were merged")
    versions: int = Field(ge=0, description="old versions of tables that were removed")
    freed_bytes: int = Field(ge=0)


class EmbeddingProfile(_Document):
    """Where the seconds of embedding went."""

    images: int = Field(ge=0, description="images that were encoded")
    wall_s: float = Field(ge=0, description="seconds from the first image asked for to the last commit")
    images_per_s: float | None = Field(description="of the whole path")
    in_turn_s: dict[str, float] = Field(description="seconds by what the encoding thread did; they add up to wall_s")
    beside_s: dict[str, float] = Field(
        description="seconds of the threads that read ahead, which pass at the same time"
    )
    beside_core_s: dict[str, float] = Field(
        description="of these with a core; processes that decode are waited for without one"
    )
    encoder_images_per_s: float | None = Field(description="of the encoder alone, on a batch that lay ready")
    encoder_s: float = Field(ge=0, description="seconds that this took, after wall_s")
    share_of_encoder: float | None = Field(description="images_per_s over encoder_images_per_s")


class IndexDocument(_Document):
    """What `index`, `embed` and `reembed` did."""

    fovs: int = Field(ge=0, description="FOVs in the atlas after the run")
    cells: int = Field(ge=0, description="cells in the atlas after the run")
    embedded: int = Field(ge=0, description="vectors made in this run")
    from_pack: int = Field(ge=0, description="images, or fields of cells, that `locatlas pack` had decoded")
    skipped: int = Field(ge=0, description="images there already, unchanged")
    updated: int = Field(ge=0, description="images whose metadata alone changed")
    labelled: int | None = Field(description="images of this reading with a localization; null for embed")
    gone: list[str] = Field(description="ids whose files are gone; they stay unless --prune was given")
    quarantined: list[QuarantinedSource]
    encoder: EncoderName | None = Field(description="of the FOVs; of the cells where there are only cells")
    encoders: dict[str, EncoderName] = Field(description="by level")
    superseded: dict[str, EncoderName] = Field(
        description="what was current until this run made the encoder above so, by level"
    )
    qc: dict[str, int] = Field(description="images embedded in this run by QC flag")
    segmented: SegmentedFields
    dropped: int = Field(ge=0, description="cells without a vector by this encoder because they meet the border")
    cell_qc: dict[str, int] = Field(description="cells found in this run by QC flag")
    maintained: MaintainedTables
    timings_s: dict[str, float] = Field(description="seconds by stage")
    profile: EmbeddingProfile | None = Field(default=None, description="with --profile-time")
    indices: dict[str, str] = Field(description="what look-ups use, by level, in words")


class NearlyMetIds(_Document):
    """Ids of a file that are those of images but for what stands before them."""

    ids: int = Field(ge=1)
    example: str = Field(description="one of them, as the file has it")
    image: str = Field(description="the id of its image")
    dataset: str | None = Field(description="--dataset that meets them; null where the file has to have the whole id")


class ImportDocument(_Document):
    """What `import-embeddings` did."""

    imported: int
    replaced: int = Field(ge=0, description="of these, in place of another vector of the same image")
    repeated: int = Field(
        ge=0, description="of these, new images whose vector another image has by this encoder already"
    )
    updated: int = Field(ge=0, description="rows with new metadata, whose vectors are unchanged")
    skipped: int
    with_image: int = Field(ge=0, description="ids of the file that are images of the atlas")
    without_image: int = Field(ge=0, description="ids of rows of their own, which have no image")
    nearly_met: list[NearlyMetIds] = Field(description="of these, ids that are images but for their first parts")
    resumed: bool = Field(description="whether some of these had been stored by an import that was stopped")
    dim: int
    same_as: EncoderName | None = Field(
        description="imported encoder by which the same images have the same vectors; sought at a name's first import"
    )
    degenerate: int = Field(description="zero vectors: they never match")
    indices: dict[str, str] = Field(description="what look-ups use, by level, in words")
    encoder: EncoderName
