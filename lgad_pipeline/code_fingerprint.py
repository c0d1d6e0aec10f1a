"""Fingerprint of the behaviour of code: of a function or class and of all project code that it reaches.

The source is parsed, not imported. Comments, docstrings, formatting, type annotations of functions, texts of
raised errors, names of functions, variables, parameters and plain attributes, and the file of a
definition have no influence. Constants, operators, the order of statements and calls into other
packages have.

Each top-level definition becomes a sequence of tokens in which local names are numbered by their first
appearance. A reference to another definition of the project becomes the digest of that definition. As
definitions refer to each other in circles, the digests are refined in a few rounds. Each round replaces the
references by the digests of the previous round (the colour refinement of Weisfeiler and Leman, 1968).
"""

import ast
import importlib.util
import sys
from collections.abc import Iterable, Mapping, Sequence
from functools import cache
from hashlib import blake2b
from pathlib import Path
from typing import NamedTuple

from lgad_pipeline.code_modules import ParsedModule, attribute_names
from lgad_pipeline.code_tokens import Attribute, DefinitionTokens, Reference, Token
from lgad_pipeline.errors import LgadError

_ROUNDS = 4  # more than the length of any chain of wrappers that differ only in what they call


@cache
def code_fingerprint(*entry_points: str) -> str:
    """Return a digest of the behaviour of the entry points and of all project code that they reach.

    Args:
        entry_points: `package.module:name` of functions, classes or constants. Code of this package and of
            the packages of the entry points is followed; of other packages only the names in use count.

    Returns:
        12 hexadecimal digits.

    Raises:
        LgadError: an entry point or its source file does not exist, or the file is not valid Python.
    """
    packages = tuple(sorted({_top(__name__), *(_top(entry) for entry in entry_points)}))
    return _project(packages).digest([Reference(*_split(entry)) for entry in entry_points])


@cache
def _project(packages: tuple[str, ...]) -> "_Project":
    return _Project({name: _package_root(name) for name in packages})


def _split(entry: str) -> tuple[str, str]:
    module, separator, name = entry.partition(":")
    if not (separator and module and name):
        raise LgadError(f"{entry!r} is not an entry point; write it as package.module:name.")
    return module, name


def _top(entry: str) -> str:
    return entry.partition(":")[0].partition(".")[0]


def _package_root(name: str) -> Path:
    script = getattr(sys.modules["__main__"], "__file__", None)
    if name == "__main__" and script:  # a script has no import specification
        return Path(script)
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise LgadError(f"The source of package {name} was not found; install it or correct the import path.")
    origin = Path(spec.origin)
    return origin.parent if spec.submodule_search_locations else origin


class _Definition(NamedTuple):
    """Tokens of a definition, the definitions that it reaches, and the attributes of a class.

    `plain` says that a class has no bases of other packages, which could demand names of its attributes.
    """

    tokens: list[Token]
    reached: list[Reference]
    attributes: list[str]
    plain: bool


class _Project:
    """The parsed modules of some packages, and the tokens of the definitions that were asked for."""

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self._roots = roots
        self._modules: dict[str, ParsedModule | None] = {}
        self._definitions: dict[Reference, _Definition] = {}

    def digest(self, entries: Sequence[Reference]) -> str:
        """Return the fingerprint of the entries and of all that they reach."""
        found = []
        for entry in entries:
            definition = self.resolve(entry.module, entry.name)
            if definition is None:
                raise LgadError(f"{entry.module}:{entry.name} does not exist; correct the import path.")
            found.append(definition)
        definitions = self._reach(found)
        owners: dict[str, list[tuple[Reference, int]]] = {}
        literal: set[str] = set()
        for reference, definition in definitions.items():
            for position, name in enumerate(definition.attributes):
                owners.setdefault(name, []).append((reference, position))
                if not definition.plain or name.startswith("__"):
                    literal.add(name)
        digests = dict.fromkeys(definitions, "")
        for _ in range(_ROUNDS):
            attributes = {
                name: _hash(sorted(f"{digests[owner]} {position}" for owner, position in places))
                for name, places in owners.items()
                if name not in literal
            }
            digests = {
                reference: _hash(_text(token, digests, attributes) for token in definition.tokens)
                for reference, definition in definitions.items()
            }
        return _hash(sorted(digests.values()))

    def _reach(self, entries: Sequence[Reference]) -> dict[Reference, _Definition]:
        reached: dict[Reference, _Definition] = {}
        waiting = list(entries)
        while waiting:
            reference = waiting.pop()
            if reference not in reached:
                if reference not in self._definitions:
                    self._definitions[reference] = self._defined(reference)
                reached[reference] = self._definitions[reference]
                waiting += reached[reference].reached
        return reached

    def _defined(self, reference: Reference) -> _Definition:
        module = self._module(reference.module)
        assert module is not None
        nodes = module.definitions[reference.name]
        walk = DefinitionTokens(self, module)
        tokens = [token for node in nodes for token in walk.of(node)]
        classes = [node for node in nodes if isinstance(node, ast.ClassDef)]
        bases = [ast.unparse(base) for node in classes for base in node.bases]
        return _Definition(
            tokens,
            [
                *(token for token in tokens if isinstance(token, Reference)),
                *walk.annotated,
                *(
                    Reference(module.name, name)
                    for name in module.definitions
                    if name.startswith("<statement")
                ),
            ],
            list(dict.fromkeys(name for node in classes for name in attribute_names(node))),
            all(base in ("object", "NamedTuple") for base in bases),
        )

    def resolve(self, module: str, name: str) -> Reference | None:
        """Return the definition behind a name that is imported from a module, through re-exports."""
        for _ in range(8):
            parsed = self._module(module)
            if parsed is None:
                return None
            if name in parsed.definitions:
                return Reference(module, name)
            if name not in parsed.imports:
                return None
            target, attribute = parsed.imports[name]
            if not attribute:
                return None
            module, name = target, attribute
        return None

    def members(self, module: str) -> list[Reference]:
        """Return all definitions of a module, in order; none for a module that is not the project's."""
        parsed = self._module(module)
        return [] if parsed is None else [Reference(module, name) for name in parsed.definitions]

    def parameters(self, reference: Reference) -> list[str]:
        """Return the parameter names of a function, or of the `__init__` of a class, in order; else none."""
        module = self._module(reference.module)
        assert module is not None
        node: ast.AST = module.definitions[reference.name][-1]
        if isinstance(node, ast.ClassDef):
            methods = [part for part in node.body if isinstance(part, ast.FunctionDef)]
            node = next((part for part in methods if part.name == "__init__"), node)
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            return []
        arguments = node.args
        return [part.arg for part in (*arguments.posonlyargs, *arguments.args, *arguments.kwonlyargs)]

    def _module(self, name: str) -> ParsedModule | None:
        if name not in self._modules:
            self._modules[name] = self._parsed(name)
        return self._modules[name]

    def _parsed(self, name: str) -> ParsedModule | None:
        root = self._roots.get(name.partition(".")[0])
        if root is None:
            return None
        if root.is_file():
            file = root if "." not in name else None
        else:
            path = root.joinpath(*name.split(".")[1:])
            file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
        if file is None or not file.is_file():
            return None
        try:
            tree = ast.parse(file.read_bytes())
        except (SyntaxError, ValueError) as error:
            raise LgadError(f"{file} is not valid Python ({error}); correct it.") from error
        module = ParsedModule(name, file.name == "__init__.py")
        module.collect(tree.body)
        return module


def _text(token: Token, digests: Mapping[Reference, str], attributes: Mapping[str, str]) -> str:
    if isinstance(token, Reference):
        return f"definition {digests[token]}"
    if isinstance(token, Attribute):
        known = attributes.get(token.name)
        return f"name {token.name}" if known is None else f"attribute {known}"
    return token


def _hash(parts: Iterable[str]) -> str:
    digest = blake2b(digest_size=6)
    for part in parts:
        digest.update(part.encode() + b"\0")
    return digest.hexdigest()
