"""The API against its own description: made-up requests are answered as documented, and never with a 5xx."""

from collections import Counter
from typing import Any

import pytest

pytest.importorskip("fastapi", reason="extra serve is not installed")
pytest.importorskip("schemathesis", reason="schemathesis is not installed")

import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from locatlas.query.serve.app import create_app
from tests.query.made_atlas import make_atlas

CHECKS = [not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance]
POSITIVE, NEGATIVE = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE

KNOWN: dict[str, Any] = {"protein": "P1", "level": "fov", "a": "made", "b": "made", "name": "P1", "image_id": "d/10"}
"""What is in the atlas: made-up names alone would find nothing."""


@pytest.fixture(scope="module")
def schema(tmp_path_factory: pytest.TempPathFactory) -> Any:
    app = create_app(make_atlas(tmp_path_factory.mktemp("fuzzed") / "atlas"), hosts=["localhost"])
    return schemathesis.openapi.from_asgi("/api/v1/openapi.json", app, headers={"host": "localhost"})


def fuzz(schema: Any, examples: int) -> dict[int, int]:
    """Ask every operation what its description allows and what it does not; how many answers of which status."""
    answered: Counter[int] = Counter()

    def ask(operation: Any, mode: Any, *, known: bool) -> None:
        @settings(
            max_examples=examples,
            deadline=None,
            database=None,
            derandomize=True,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(generation_mode=mode))
        def asked(case: Any) -> None:
            if known:
                for place, parameters in (
                    (case.query, operation.query),
                    (case.path_parameters, operation.path_parameters),
                ):
                    place.update({p.name: KNOWN[p.name] for p in parameters if p.name in KNOWN})
                for name in ("id", "ids", "encoder"):
                    case.query.pop(name, None)
            answer = case.call(headers={"host": "localhost"})
            answered[answer.status_code] += 1
            case.validate_response(answer, checks=CHECKS)

        asked()

    for result in schema.get_all_operations():
        ask(result.ok(), POSITIVE, known=True)
        if examples > 2:
            ask(result.ok(), POSITIVE, known=False)
        if any(True for place in ("query", "path_parameters", "body") if getattr(result.ok(), place)):
            ask(result.ok(), NEGATIVE, known=False)
    return answered


def test_made_up_requests_are_answered_as_documented(schema: Any) -> None:
    answered = fuzz(schema, 2)
    assert answered[200] > 10
    assert answered[404] + answered[422] > 10


@pytest.mark.slow
def test_many_made_up_requests_are_answered_as_documented(schema: Any) -> None:
    assert fuzz(schema, 100)[200] > 500
