"""What is wrong with parameters of a request, in words: the parameter's name and the reason. Pure."""

from collections.abc import Callable, Mapping
from typing import Any

from locatlas.errors import escaped, one_line

__all__ = ["said_of_parameter"]

_NUMBER, _WHOLE = "a number needed", "a whole number needed"

_REASONS: Mapping[str, Callable[[Mapping[str, Any]], str]] = {
    "missing": lambda _: "needed, and not given",
    "extra_forbidden": lambda _: "no parameter of this name is known here",
    "int_parsing": lambda _: _WHOLE,
    "int_parsing_size": lambda _: _WHOLE + " of fewer digits",
    "int_type": lambda _: _WHOLE,
    "int_from_float": lambda _: _WHOLE,
    "float_parsing": lambda _: _NUMBER,
    "float_type": lambda _: _NUMBER,
    "finite_number": lambda _: "a number needed that is neither infinite nor NaN",
    "greater_than": lambda limit: f"more than {limit['gt']:.12g} needed",
    "greater_than_equal": lambda limit: f"at least {limit['ge']:.12g} needed",
    "less_than": lambda limit: f"less than {limit['lt']:.12g} needed",
    "less_than_equal": lambda limit: f"at most {limit['le']:.12g} allowed",
    "bool_parsing": lambda _: "true or false needed",
    "literal_error": lambda limit: f"one of {limit['expected']} needed",
    "string_too_long": lambda limit: f"at most {limit['max_length']} characters allowed",
    "string_too_short": lambda limit: f"at least {limit['min_length']} characters needed",
    "too_long": lambda limit: f"at most {limit['max_length']} values allowed",
    "too_short": lambda limit: f"at least {limit['min_length']} values needed",
    "value_error": lambda limit: str(limit["error"]),
}
"""By pydantic's name of an error, from its limits. Of others its own words are told."""


def said_of_parameter(error: Mapping[str, Any]) -> str:
    """What is wrong with a parameter, on one line; what was given for it is not shown again.

    Args:
        error: As pydantic's `errors()` has it.
    """
    name = one_line(".".join(str(part) for part in error["loc"] if part not in ("query", "path", "body")))
    reason = _REASONS.get(error["type"])
    said = str(error["msg"]) if reason is None else reason(error.get("ctx", {}))
    return escaped(f"{name}: {said}" if name else said)
