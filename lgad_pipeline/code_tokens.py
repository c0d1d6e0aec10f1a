"""Tokens of a top-level definition, without names and positions. Part of `code_fingerprint`."""

import ast
from collections.abc import Iterable, Iterator
from contextlib import suppress
from typing import NamedTuple, Protocol

from lgad_pipeline.code_modules import ParsedModule, imported_names, is_text


class Reference(NamedTuple):
    """Definition of the project: module and name; an empty name is the module itself."""

    module: str
    name: str


class Attribute(NamedTuple):
    """Name of an attribute that only plain classes of the project define."""

    name: str


Token = str | Reference | Attribute


class Project(Protocol):
    """Interface to the other definitions of the project."""

    def resolve(self, module: str, name: str) -> Reference | None:
        """Return the definition behind a name of a module, through re-exports."""
        ...

    def members(self, module: str) -> list[Reference]:
        """Return all definitions of a module, in order; none for a module that is not the project's."""
        ...

    def parameters(self, reference: Reference) -> list[str]:
        """Return the parameter names of a function or of the `__init__` of a class, in order."""
        ...


class DefinitionTokens:
    """Converter of one top-level definition to tokens.

    Attributes:
        annotated: Definitions that annotations name; their methods may be called on the arguments.
    """

    def __init__(self, project: Project, module: ParsedModule) -> None:
        self._project = project
        self._module = module
        self._locals: dict[str, int] = {}
        self._local_names: set[str] = set()  # of the scope at hand
        self._function_names: set[str] = set()  # of the functions around it, which nested functions see
        self._imports = dict(module.imports)
        self.annotated: list[Reference] = []

    def of(self, node: ast.stmt) -> Iterator[Token]:
        """Yield the tokens of the definition."""
        for part in ast.walk(node):
            if isinstance(part, ast.Import | ast.ImportFrom):
                self._imports.update(imported_names(part, self._module))
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            self._local_names = self._function_names = _bound_inside(node)
        yield from self._statement(node, top=True)

    def _statement(self, node: ast.AST, top: bool = False) -> Iterator[Token]:
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            yield type(node).__name__
            if not top:
                yield self._local(node.name) if node.name in self._local_names else Attribute(node.name)
            for decorator in node.decorator_list:
                yield from self._tokens(decorator)
            yield from self._function(node)
        elif isinstance(node, ast.ClassDef):
            yield "ClassDef"
            for part in (*node.decorator_list, *node.bases, *node.keywords):
                yield from self._tokens(part)
            names = self._local_names
            methods = {
                part.name for part in node.body if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef)
            }
            self._local_names = self._function_names | (_bound(*node.body)[0] - methods)
            yield from self._block(node.body)
            self._local_names = names
        else:
            yield from self._tokens(node)

    def _function(self, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda) -> Iterator[Token]:
        """Yield the tokens of the parameters and of the body, in which more names are local."""
        for default in (*node.args.defaults, *node.args.kw_defaults):  # in the scope around the function
            yield from self._tokens(default) if default is not None else ["no default"]
        outer = self._local_names, self._function_names
        names, shared = _bound(node.args, *(node.body if isinstance(node.body, list) else [node.body]))
        self._local_names = self._function_names = (self._function_names | names) - shared
        yield from self._tokens(_without_defaults(node.args))
        if isinstance(node, ast.Lambda):
            yield from self._tokens(node.body)
        else:
            self._note_annotation(node.returns)
            yield from self._block(node.body)
        self._local_names, self._function_names = outer

    def _block(self, statements: Iterable[ast.stmt]) -> Iterator[Token]:
        yield "("
        for node in statements:
            if not is_text(node) and not isinstance(node, ast.Import | ast.ImportFrom | ast.Pass):
                yield from self._statement(node)
        yield ")"

    def _tokens(self, node: ast.AST) -> Iterator[Token]:
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield from self._statement(node)
            case ast.Lambda():
                yield "Lambda"
                yield from self._function(node)
            case ast.Raise():  # the text of an error changes no result; its class decides who handles it
                yield "Raise"
                raised = node.exc.func if isinstance(node.exc, ast.Call) else node.exc
                if raised is not None:
                    yield from self._tokens(raised)
            case ast.Name():
                yield from self._name(node.id)
            case ast.Attribute():
                yield from self._attribute(node)
            case ast.arg():
                self._note_annotation(node.annotation)
                yield self._local(node.arg)
            case ast.AnnAssign():
                yield "Assign"
                yield from self._tokens(node.target)
                if node.simple and isinstance(node.target, ast.Name):
                    yield from self._tokens(node.annotation)  # a field's type is its validation
                if node.value is not None:
                    yield from self._tokens(node.value)
            case ast.Call():
                yield from self._call(node)
            case ast.Constant():
                yield from self._constant(node.value)
            case _:
                yield from self._generic(node)

    def _generic(self, node: ast.AST) -> Iterator[Token]:
        yield type(node).__name__
        for name, value in ast.iter_fields(node):
            if name in ("ctx", "type_comment", "kind"):
                continue
            if name in ("body", "orelse", "finalbody") and isinstance(value, list):
                yield from self._block(value)
            elif isinstance(value, list):
                yield "["
                for part in value:
                    yield from self._value(name, part)
                yield "]"
            else:
                yield from self._value(name, value)

    def _value(self, name: str, value: object) -> Iterator[Token]:
        if isinstance(value, ast.AST):
            yield from self._tokens(value)
        elif isinstance(value, str) and name in ("name", "rest", "names"):
            yield self._local(value) if value in self._local_names else f"name {value}"
        elif isinstance(value, str) and name == "kwd_attrs":
            yield Attribute(value)
        else:
            yield repr(value)

    def _constant(self, value: object) -> Iterator[Token]:
        yield f"{type(value).__name__} {value!r}"
        if isinstance(value, str) and ":" in value:  # an import path, such as a registry holds
            module, _, name = value.partition(":")
            if name.isidentifier() and all(part.isidentifier() for part in module.split(".")):
                reference = self._project.resolve(module, name)
                if reference is not None:
                    yield reference

    def _name(self, name: str) -> Iterator[Token]:
        if name in self._local_names:
            yield self._local(name)
        elif name in self._module.definitions:
            yield Reference(self._module.name, name)
        elif name in self._imports:
            module, attribute = self._imports[name]
            reference = self._project.resolve(module, attribute) if attribute else None
            if reference is not None:
                yield reference
                return
            # A module as a value, such as a registry of readers holds: any of its definitions may be used.
            members = self._project.members(f"{module}.{attribute}" if attribute else module)
            yield from members or [f"import {module} {attribute}"]
        else:
            yield f"name {name}"

    def _local(self, name: str) -> str:
        return f"local {self._locals.setdefault(name, len(self._locals))}"

    def _call(self, node: ast.Call) -> Iterator[Token]:
        """Tokens of a call; keywords of a project function are the positions of its parameters."""
        function = list(self._tokens(node.func))
        yield "Call"
        yield from function
        for argument in node.args:
            yield from self._tokens(argument)
        parameters: list[str] = []
        if len(function) == 1 and isinstance(function[0], Reference):
            parameters = self._project.parameters(function[0])
        for keyword in node.keywords:
            if keyword.arg is None:
                yield "**"
            elif keyword.arg in parameters:
                yield f"parameter {parameters.index(keyword.arg)}"
            else:
                yield Attribute(keyword.arg)
            yield from self._tokens(keyword.value)

    def _attribute(self, node: ast.Attribute) -> Iterator[Token]:
        module = self._module_of(node.value)
        if module is not None:
            reference = self._project.resolve(module, node.attr)
            if reference is not None:
                yield reference
                return
        yield "Attribute"
        yield from self._tokens(node.value)
        yield f"name {node.attr}" if module is not None else Attribute(node.attr)

    def _module_of(self, node: ast.expr) -> str | None:
        """Return the module that an expression such as `lanes.view` names, or None."""
        if isinstance(node, ast.Attribute):
            parent = self._module_of(node.value)
            return None if parent is None else f"{parent}.{node.attr}"
        if not isinstance(node, ast.Name) or node.id in self._local_names or node.id not in self._imports:
            return None
        module, attribute = self._imports[node.id]
        if attribute and self._project.resolve(module, attribute) is not None:
            return None
        return f"{module}.{attribute}" if attribute else module

    def _note_annotation(self, annotation: ast.expr | None) -> None:
        """Reach the classes that annotations name, whose methods may be called, without tokens for them."""
        for part in _annotation_parts(annotation) if annotation is not None else ():
            if isinstance(part, ast.Name | ast.Attribute):
                token = next(iter(self._tokens(part)), None)
                if isinstance(token, Reference):
                    self.annotated.append(token)
            elif isinstance(part, ast.Constant) and isinstance(part.value, str):
                with suppress(SyntaxError):
                    self._note_annotation(ast.parse(part.value, mode="eval").body)


def _annotation_parts(node: ast.AST) -> Iterator[ast.AST]:
    """Yield the nodes of an annotation, without the values of a `Literal`, which name no class."""
    yield node
    if not (isinstance(node, ast.Subscript) and ast.unparse(node.value).endswith("Literal")):
        for part in ast.iter_child_nodes(node):
            yield from _annotation_parts(part)


def _without_defaults(arguments: ast.arguments) -> ast.arguments:
    """Return parameters without their default values."""
    parts = {name: value for name, value in ast.iter_fields(arguments) if not name.endswith("defaults")}
    return ast.arguments(**parts, defaults=[], kw_defaults=[])


def _bound(*nodes: ast.AST) -> tuple[set[str], set[str]]:
    """Return the names that nodes of one scope bind, and those that are global in it.

    Of nested functions and classes only their own names count.
    """
    found: set[str] = set()
    shared: set[str] = set()
    waiting = list(nodes)
    while waiting:
        part = waiting.pop()
        if isinstance(part, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
            found.add(part.name)
            waiting += part.decorator_list
            continue
        if isinstance(part, ast.Lambda):
            continue
        waiting += ast.iter_child_nodes(part)
        if isinstance(part, ast.arg):
            found.add(part.arg)
        elif isinstance(part, ast.ExceptHandler | ast.MatchAs | ast.MatchStar) and part.name:
            found.add(part.name)
        elif isinstance(part, ast.MatchMapping) and part.rest:
            found.add(part.rest)
        elif isinstance(part, ast.Name) and isinstance(part.ctx, ast.Store | ast.Del):
            found.add(part.id)
        elif isinstance(part, ast.Global):
            shared |= set(part.names)
    return found - shared, shared


def _bound_inside(node: ast.AST) -> set[str]:
    """Return the names that the comprehensions of a statement bind."""
    return _bound(*(part.target for part in ast.walk(node) if isinstance(part, ast.comprehension)))[0]
