"""Modules as one script: what it runs, and what it refuses."""

import re

import pytest

from locatlas.query.export.site.bundle import bundle
from locatlas.query.export.site.page_files import POLICY, page_files


def test_a_module_runs_after_what_it_imports_and_once() -> None:
    modules = {
        "main.js": 'import { a, b as c } from "./a.js";\nimport * as all from "./a.js";\n'
        'import K from "./vendor/k.js";\n',
        "a.js": 'import K from "./vendor/k.js";\nexport const a = 1;\nexport async function b() {}\n'
        "export { a as d };\n",
        "vendor/k.js": "class J {}\nexport default class K extends J {}\n",
    }
    said = bundle(modules, ("a.js", "main.js"))
    assert re.findall(r"^// (\S+)$", said, re.MULTILINE) == ["vendor/k.js", "a.js", "main.js"]
    assert "const { a, b: c } = modules['a.js'];" in said
    assert "const all = modules['a.js'];" in said
    assert "const { default: K } = modules['vendor/k.js'];" in said
    assert "return { a: a, b: b, d: a };" in said
    assert "return { default: K };" in said


@pytest.mark.parametrize(
    "text",
    ['import "./a.js";\n', 'export * from "./a.js";\n', "export default function () {}\n", "export let a = 1;\n"],
)
def test_another_form_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match=r"main\.js: .* is no form of import or export that is known"):
        bundle({"main.js": text, "a.js": ""}, ("main.js",))


def test_a_circle_is_refused() -> None:
    modules = {"a.js": 'import { b } from "./b.js";\n', "b.js": 'import { a } from "./a.js";\n'}
    with pytest.raises(ValueError, match=r"a\.js imports itself by a\.js, b\.js"):
        bundle(modules, ("a.js",))


def test_the_page_asks_for_nothing_but_its_own_files() -> None:
    files = page_files()
    index = files["index.html"].decode()
    named = re.findall(r'(?:src|href)="([^"#]*)"', index)
    assert {name for name in named if not name.startswith("data/")} <= set(files)
    assert f'content="{POLICY}"' in index
    script = files["page/locatlas.js"].decode()
    assert "/api/v1" not in script
    assert "fetch(" not in script
