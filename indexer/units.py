"""Numbers with units as tables and options write them. Pure."""

__all__ = ["positive_number"]


def positive_number(value: object) -> float | None:
    """A positive, finite number, e.g. a pixel size in micrometres; None where it is none, for the caller to say where.

    Args:
        value: A number or its text, with a decimal point.

    Example:
        >>> positive_number("0.206"), positive_number("-1"), positive_number("nan"), positive_number("0,2")
        (0.206, None, None, None)
    """
    try:
        number = float(str(value))
    except ValueError:
        return None
    return number if 0 < number < float("inf") else None
