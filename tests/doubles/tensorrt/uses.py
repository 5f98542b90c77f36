"""Which names of TensorRT a source file uses: on the module, and on what comes out of it.

Follows plain assignments, attributes of `self`, arguments and results of our own functions, and what TensorRT's
signatures say they return. TensorRT itself is what is called `trt` or `_trt`, or comes out of `tensorrt()`.
"""

from __future__ import annotations

import ast
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

_MODULE = "module"
_PASSES = 4
_RETURNS = re.compile(r"-> (?:(?:List|list)\[)?([\w.:]+)\]?$")


@dataclass(frozen=True)
class Use:
    """A name, e.g. `IBuilderConfig.set_flag`; its place; the conditions that it stands under.

    Attributes:
        name: ends in `.*` where `getattr` is given a name that only running shows.
    """

    name: str
    place: str
    conditions: tuple[str, ...]


def find_uses(paths: Iterable[Path], manifests: Iterable[Mapping[str, Any]]) -> set[Use]:
    """Every use in some files that belong together."""
    tracker = _Tracker(manifests)
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in paths}
    for tree in trees.values():
        tracker.declare(tree)
    for _ in range(_PASSES):
        tracker.uses.clear()
        for path, tree in trees.items():
            tracker.follow(path, tree)
    return tracker.uses


class _Tracker:
    """Kinds are strings: `module`, `class X`, `object X`, `list X` of TensorRT's, `own C` for a class of ours."""

    def __init__(self, manifests: Iterable[Mapping[str, Any]]) -> None:
        self.uses: set[Use] = set()
        self._returns: dict[str, str] = {}
        self._classes: set[str] = set()
        self._bases: dict[str, list[str]] = {}
        for manifest in manifests:
            self._classes |= {*manifest["classes"], *manifest["enums"]}
            for owner, item in manifest["classes"].items():
                self._bases[owner] = item["bases"]
                for method, signatures in item["methods"].items():
                    self._returns |= {f"{owner}.{method}": text for text in signatures if " -> " in text}
        self._functions: dict[str, ast.FunctionDef] = {}
        self._own: dict[str, dict[str, str | None]] = {}
        self._results: dict[str, str | None] = {}
        self._arguments: dict[tuple[str, str], str] = {}
        self._path = Path()
        self._owner: str | None = None
        self._function = ""
        self._conditions: list[str] = []

    def declare(self, tree: ast.Module) -> None:
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                self._own[node.name] = {}
                for item in node.body:
                    if isinstance(item, ast.FunctionDef):
                        self._functions[f"{node.name}.{item.name}"] = item
                    elif isinstance(item, ast.AnnAssign) and isinstance(item.target, ast.Name):
                        self._own[node.name][item.target.id] = self._annotated(item.annotation)
            elif isinstance(node, ast.FunctionDef):
                self._functions[node.name] = node

    def follow(self, path: Path, tree: ast.Module) -> None:
        self._path = path
        for node in tree.body:
            if isinstance(node, ast.ClassDef):
                self._owner = node.name
                for item in node.body:
                    if isinstance(item, ast.FunctionDef):
                        self._enter(f"{node.name}.{item.name}", item)
                self._owner = None
            elif isinstance(node, ast.FunctionDef):
                self._enter(node.name, node)

    def _enter(self, name: str, node: ast.FunctionDef) -> None:
        known: dict[str, str | None] = {}
        for argument in (*node.args.args, *node.args.kwonlyargs):
            annotated = self._annotated(argument.annotation)
            known[argument.arg] = annotated or self._arguments.get((name, argument.arg))
        if self._owner:
            known["self"] = f"own {self._owner}"
        self._function, self._conditions = name, []
        self._block(node.body, known)

    def _annotated(self, annotation: ast.expr | None) -> str | None:
        name = annotation.id if isinstance(annotation, ast.Name) else None
        return f"own {name}" if name in self._own else None

    def _block(self, body: list[ast.stmt], known: dict[str, str | None]) -> None:
        left = 0
        for node in body:
            if isinstance(node, ast.FunctionDef):
                self._block(node.body, {**known})
            elif isinstance(node, ast.If):
                self._if(node, known)
                if isinstance(node.body[-1], (ast.Return, ast.Raise)):
                    self._conditions.append(ast.unparse(node.test))
                    left += 1
            else:
                self._statement(node, known)
        del self._conditions[len(self._conditions) - left :]

    def _if(self, node: ast.If, known: dict[str, str | None]) -> None:
        self._kind(node.test, known)
        self._conditions.append(ast.unparse(node.test))
        self._block(node.body, known)
        self._block(node.orelse, known)
        self._conditions.pop()

    def _statement(self, node: ast.stmt, known: dict[str, str | None]) -> None:
        if isinstance(node, (ast.Assign, ast.AnnAssign)):
            kind = self._kind(node.value, known) if node.value else None
            for target in node.targets if isinstance(node, ast.Assign) else [node.target]:
                self._assign(target, kind, known)
        elif isinstance(node, ast.Return):
            kind = self._kind(node.value, known) if node.value else None
            self._results[self._function] = kind or self._results.get(self._function)
        elif isinstance(node, ast.For):
            self._assign(node.target, _item(self._kind(node.iter, known)), known)
            self._block([*node.body, *node.orelse], known)
        else:
            for part in ast.iter_child_nodes(node):
                self._part(part, known)
        for block in ("body", "orelse", "finalbody"):
            if isinstance(node, (ast.With, ast.Try, ast.While)):
                self._block(getattr(node, block, []), known)

    def _part(self, part: ast.AST, known: dict[str, str | None]) -> None:
        if isinstance(part, ast.expr):
            self._kind(part, known)
        elif isinstance(part, ast.withitem):
            self._kind(part.context_expr, known)
        elif isinstance(part, ast.ExceptHandler):
            self._block(part.body, known)

    def _assign(self, target: ast.expr, kind: str | None, known: dict[str, str | None]) -> None:
        if isinstance(target, ast.Name):
            known[target.id] = kind or known.get(target.id)
        elif isinstance(target, ast.Attribute):
            owner = self._kind(target.value, known)
            if owner and owner.startswith("own "):
                attributes = self._own[owner[4:]]
                attributes[target.attr] = kind or attributes.get(target.attr)
            elif owner and owner.startswith("object "):
                self._used(f"{owner[7:]}.{target.attr}", target)
        elif isinstance(target, ast.Tuple):
            for item in target.elts:
                self._assign(item, None, known)

    def _kind(self, node: ast.expr, known: dict[str, str | None]) -> str | None:
        if isinstance(node, ast.Name):
            return _MODULE if node.id == "trt" else known.get(node.id)
        if isinstance(node, ast.Attribute):
            return self._attribute(node, known)
        if isinstance(node, ast.Call):
            return self._call(node, known)
        if isinstance(node, (ast.ListComp, ast.GeneratorExp, ast.SetComp)):
            return self._comprehension(node, known)
        if isinstance(node, ast.IfExp):
            self._conditions.append(ast.unparse(node.test))
            kinds = [self._kind(part, known) for part in (node.body, node.orelse)]
            self._conditions.pop()
            self._kind(node.test, known)
            return kinds[0] or kinds[1]
        if isinstance(node, ast.Lambda):
            self._kind(node.body, known)
            return None
        kinds = [self._kind(part, known) for part in ast.iter_child_nodes(node) if isinstance(part, ast.expr)]
        first = next(filter(None, kinds), None)
        if isinstance(node, ast.BoolOp):
            return first
        return _several(first) if isinstance(node, (ast.List, ast.Tuple)) else None

    def _attribute(self, node: ast.Attribute, known: dict[str, str | None]) -> str | None:
        if node.attr in ("trt", "_trt"):
            return _MODULE
        owner = self._kind(node.value, known)
        if owner == _MODULE:
            self._used(node.attr, node)
            return f"class {node.attr}"
        kind, _, name = (owner or "").partition(" ")
        if kind == "own":
            return self._own[name].get(node.attr)
        if kind in ("class", "object"):
            self._used(f"{name}.{node.attr}", node)
            nested = f"{name}.{node.attr}"
            return f"class {nested}" if nested in self._classes else None
        return None

    def _call(self, node: ast.Call, known: dict[str, str | None]) -> str | None:
        given = [self._kind(item.value if isinstance(item, ast.Starred) else item, known) for item in node.args]
        named = {item.arg: self._kind(item.value, known) for item in node.keywords if item.arg}
        name = getattr(node.func, "id", getattr(node.func, "attr", ""))
        if name == "tensorrt":
            return _MODULE
        if name in ("getattr", "hasattr") and given[0] and not given[0].startswith("own "):
            return self._asked(node, name, given[0])
        owner = self._kind(node.func.value, known) if isinstance(node.func, ast.Attribute) else None
        if owner and owner.startswith("own "):
            return self._ours(f"{owner[4:]}.{name}", given, named)
        if owner and owner.startswith(("object ", "class ")):
            used = f"{owner.partition(' ')[2]}.{name}"
            self._used(used, node.func)
            return self._returned(used)
        made = self._kind(node.func, known)
        if made and made.startswith("class "):
            return f"object {made[6:]}"
        if name in self._own:
            self._ours(f"{name}.__init__", given, named)
            return f"own {name}"
        return self._ours(name, given, named)

    def _asked(self, node: ast.Call, asking: str, owner: str) -> str | None:
        """`hasattr` is a guard and no use; `getattr` is one."""
        prefix = "" if owner == _MODULE else f"{owner.partition(' ')[2]}."
        if asking == "hasattr":
            return None
        literal = node.args[1].value if isinstance(node.args[1], ast.Constant) else "*"
        self._used(f"{prefix}{literal}", node)
        return None

    def _ours(self, name: str, given: list[str | None], named: Mapping[str, str | None]) -> str | None:
        """Hand kinds on to the parameters of a function of ours; its result's kind."""
        node = self._functions.get(name)
        if node is None:
            return None
        names = [argument.arg for argument in node.args.args if argument.arg not in ("self", "cls")]
        kinds = {**dict(zip(names, given, strict=False)), **named}
        passed_on = _passed_on(node)
        if passed_on in kinds:
            return kinds[passed_on]
        self._arguments |= {(name, parameter): kind for parameter, kind in kinds.items() if kind}
        return self._results.get(name)

    def _comprehension(self, node: Any, known: dict[str, str | None]) -> str | None:
        inner = {**known}
        for part in node.generators:
            self._assign(part.target, _item(self._kind(part.iter, inner)), inner)
            for condition in part.ifs:
                self._kind(condition, inner)
        kind = self._kind(node.elt, inner)
        return _several(kind)

    def _returned(self, used: str) -> str | None:
        found = _RETURNS.search(self._returns.get(used, ""))
        name = found[1].rpartition("::")[2] if found else ""
        name = {"IParserError": "ParserError", "IEngineInspector": "EngineInspector"}.get(name, name)
        if name not in self._classes:
            return None
        return f"{'list' if '[' in self._returns[used].rpartition(' -> ')[2] else 'object'} {name}"

    def _used(self, name: str, node: ast.AST) -> None:
        if name.endswith("__") and "." in name:
            return
        place = f"{self._path.name}:{getattr(node, 'lineno', 0)}"
        self.uses.add(Use(name, place, tuple(self._conditions)))


def _passed_on(node: ast.FunctionDef) -> str | None:
    """The parameter that a function gives back as it came, if it does."""
    last = node.body[-1]
    name = last.value.id if isinstance(last, ast.Return) and isinstance(last.value, ast.Name) else None
    return name if name in [argument.arg for argument in node.args.args] else None


def _several(kind: str | None) -> str | None:
    return f"list {kind[7:]}" if kind and kind.startswith("object ") else None


def _item(kind: str | None) -> str | None:
    return f"object {kind[5:]}" if kind and kind.startswith("list ") else None
