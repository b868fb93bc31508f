"""The same image turned and mirrored: a cell has no up. Pure."""

from torch import Tensor

__all__ = ["turned"]


def turned(images: Tensor, view: int) -> Tensor:
    """One of the eight ways to lay a square on itself; exact, no pixel is interpolated.

    Args:
        images: (..., h, w); not changed.
        view: 0 is the image as it is; 0 to 3 turn it by as many quarters counterclockwise; 4 to 7 mirror it left to
            right first.

    Returns:
        (..., h, w), or (..., w, h) for odd numbers.
    """
    mirrored = images.flip(-1) if view >= 4 else images
    return mirrored.rot90(view % 4, (-2, -1)).contiguous()
