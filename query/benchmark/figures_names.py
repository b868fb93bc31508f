"""What lines, panels and figures of a grid are called. Pure."""

from collections.abc import Sequence

from locatlas.query.benchmark.cell import Cell
from locatlas.query.benchmark.published import Published
from locatlas.query.benchmark.summary import Summary
from locatlas.types import ROW

__all__ = ["Plan", "classifier_name", "condition", "line_names", "mark_text", "plan_of"]

Plan = tuple[str, str | None, str | None, tuple[str, ...], str]
"""Encoder, mapping, passes, stains, objective: what has a line of its own, and the same style in all figures."""

_CLASSIFIERS = {"linear": "linear head", "mlp": "MLP head", "wide": "wide head"}
_TUNED = {"supervised": "fine-tuned with labels", "dino": "fine-tuned by DINO"}


def plan_of(one: Summary) -> Plan:
    """Of a summary."""
    cell = one.cell
    return cell.encoder, cell.mapping, cell.passes, cell.stains, cell.objective


def classifier_name(cell: Cell) -> str:
    """E.g. "10-NN, uniform votes"; "linear head"."""
    return f"{cell.k}-NN, {cell.votes} votes" if cell.classifier == "knn" else _CLASSIFIERS[cell.classifier]


def line_names(group: Sequence[Summary]) -> tuple[str, dict[Plan, str]]:
    """Names of plans that hold what they differ in, and what they have in common.

    Args:
        group: What is drawn in one figure.

    Returns:
        What is common, for the title, and the name of each plan, in the order of the group. A plan that is alone has
        its whole name, and nothing is common.
    """
    tuned = any(one.cell.objective != "frozen" for one in group)
    parts = {plan: _parts([one for one in group if plan_of(one) == plan], tuned=tuned) for plan in map(plan_of, group)}
    if len(parts) == 1:
        return "", {plan: ", ".join(filter(None, said)) for plan, said in parts.items()}
    columns = list(zip(*parts.values(), strict=True))
    alike = [len(set(column)) == 1 for column in columns]
    common = [column[0] for column, same in zip(columns, alike, strict=True) if same and column[0]]
    names = {
        plan: ", ".join(part for part, same in zip(said, alike, strict=True) if part and not same)
        for plan, said in parts.items()
    }
    return ", ".join(common), names


def _parts(of_plan: Sequence[Summary], *, tuned: bool) -> list[str]:
    cell = of_plan[0].cell
    n_orders = max(one.n_orders for one in of_plan)
    orders = f" ({n_orders} orders)" if cell.mapping == "random" and n_orders > 1 else ""
    return [
        cell.encoder,
        f"{cell.mapping}{orders}" if cell.mapping else "",
        cell.passes or "",
        f"{'+'.join(cell.stains)} only" if cell.stains else "",
        _TUNED.get(cell.objective, "frozen (baseline)" if tuned else ""),
    ]


def condition(group: Sequence[Summary]) -> str:
    """What the scores of a figure were measured on: protocol, labels, and numbers of rows, groups and classes."""
    cells = [one for summary in group for one in summary.cells]
    first = cells[0].cell
    grouped = str(first.setting("group", "protein"))
    sizes = [(f"{ROW[first.level]}s", {one.n for one in cells})]
    if not (first.level == "protein" and grouped == "protein"):
        sizes.append((f"{grouped}s", {len(one.groups) for one in cells}))
    sizes.append(("classes", {len(one.classes) for one in cells}))
    # the protocols are named after proteins; of other groups, as reports have them, their own name is said
    protocol = first.protocol.replace("protein", grouped)
    return f"{protocol}, {first.labels}-label: " + ", ".join(f"{_span(n)} {what}" for what, n in sizes)


def _span(numbers: set[int]) -> str:
    low, high = min(numbers), max(numbers)
    return f"{low:,}" if low == high else f"{low:,} to {high:,}"


def mark_text(one: Published) -> str:
    """A published number with its condition, for a legend."""
    return f"published {one.number}: {one.condition} ({one.source})"
