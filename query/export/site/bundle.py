"""The page's modules as one script, which browsers run from a disk, too, where they load no modules. Pure."""

import re
from collections.abc import Mapping

__all__ = ["bundle"]

_FROM = re.compile(r'^import (?P<what>.+?) from "\./(?P<path>[\w./]+\.js)";$', re.MULTILINE)
_DECLARED = re.compile(r"^export (?P<rest>(?:async )?(?:function|class|const) (?P<name>\w+))", re.MULTILINE)
_DEFAULT = re.compile(r"\bexport default class (?P<name>\w+)")
_LIST = re.compile(r"\bexport\s*\{(?P<names>[^}]*)\};?")
_LEFT = re.compile(r"(?:^|[;}])\s*(?:import|export)\b(?!\()", re.MULTILINE)


def bundle(modules: Mapping[str, str], first: tuple[str, ...]) -> str:
    """One script that runs the modules in order, each in a function of its own.

    It knows the forms of `import` and `export` that the page's files and the two libraries among them use. There is no
    circle among these files, and none changes what it exports.

    Args:
        modules: Text by path, e.g. "vendor/kdbush.js".
        first: Those to run, in order; what they import runs before them.

    Raises:
        ValueError: If a module imports or exports in another form, or in a circle.
    """
    order: list[str] = []
    for name in first:
        _visit(modules, name, order, ())
    bodies = "".join(f"\n// {name}\nmodules[{name!r}] = {_wrapped(name, modules[name])};\n" for name in order)
    return f'"use strict";\n(() => {{\nconst modules = {{}};\n{bodies}}})();\n'


def _visit(modules: Mapping[str, str], name: str, order: list[str], above: tuple[str, ...]) -> None:
    if name in above:
        message = f"{name} imports itself by {', '.join(above)}"
        raise ValueError(message)
    if name in order:
        return
    for found in _FROM.finditer(modules[name]):
        _visit(modules, found["path"], order, (*above, name))
    order.append(name)


def _wrapped(name: str, text: str) -> str:
    given: dict[str, str] = {}

    def declared(found: re.Match[str]) -> str:
        given[found["name"]] = found["name"]
        return found["rest"]

    def default(found: re.Match[str]) -> str:
        given["default"] = found["name"]
        return f"class {found['name']}"

    def listed(found: re.Match[str]) -> str:
        for one in filter(None, (part.strip() for part in found["names"].split(","))):
            own, _, other = one.partition(" as ")
            given[other or own] = own
        return ""

    body = _LIST.sub(listed, _DEFAULT.sub(default, _DECLARED.sub(declared, _FROM.sub(_taken, text))))
    code = re.sub(r"//.*|/\*.*?\*/|\"(?:[^\"\\\n]|\\.)*\"|'(?:[^'\\\n]|\\.)*'", "", body)
    if (left := _LEFT.search(code)) is not None:
        message = f"{name}: {code[left.start() : left.start() + 60]!r} is no form of import or export that is known"
        raise ValueError(message)
    returned = ", ".join(f"{other}: {own}" for other, own in given.items())
    return f"(() => {{\n{body}\nreturn {{ {returned} }};\n}})()"


def _taken(found: re.Match[str]) -> str:
    what, module = found["what"], f"modules[{found['path']!r}]"
    if what.startswith("* as "):
        return f"const {what.removeprefix('* as ')} = {module};"
    if what.startswith("{"):
        return f"const {what.replace(' as ', ': ')} = {module};"
    return f"const {{ default: {what} }} = {module};"
