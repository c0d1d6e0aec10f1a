"""Parsed modules: top-level definitions and imports of a file. Part of `code_fingerprint`."""

import ast
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field


@dataclass
class ParsedModule:
    """Top-level definitions and imports of a parsed file."""

    name: str
    is_package: bool
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, tuple[str, str]] = field(default_factory=dict)

    def collect(self, statements: Iterable[ast.stmt]) -> None:
        """Sort the module's top-level statements into definitions, imports and other statements."""
        for node in statements:
            if isinstance(node, ast.Import | ast.ImportFrom):
                self.imports.update(imported_names(node, self))
            elif isinstance(node, ast.If | ast.Try):
                if isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
                    self.definitions[f"<statement {len(self.definitions)}>"] = [ast.Expr(node.test)]
                for block in ("body", "orelse", "finalbody"):
                    self.collect(getattr(node, block, []))
                for handler in getattr(node, "handlers", []):
                    self.collect(handler.body)
            elif isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef):
                self.definitions.setdefault(node.name, []).append(node)
            elif isinstance(node, ast.Assign | ast.AnnAssign | ast.AugAssign):
                self._assign(node, node.targets if isinstance(node, ast.Assign) else [node.target])
            elif not is_text(node):
                self.definitions[f"<statement {len(self.definitions)}>"] = [node]

    def _assign(self, node: ast.stmt, targets: Iterable[ast.expr]) -> None:
        for target in targets:
            for part in ast.walk(target):
                if isinstance(part, ast.Name) and part.id != "__all__":
                    self.definitions.setdefault(part.id, []).append(node)


def imported_names(
    node: ast.Import | ast.ImportFrom, module: ParsedModule
) -> Iterator[tuple[str, tuple[str, str]]]:
    """Yield the names that an import statement binds, each with its module, and name in it or empty text."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            top = alias.name.partition(".")[0]
            yield alias.asname or top, (alias.name if alias.asname else top, "")
        return
    source = node.module or ""
    if node.level:
        package = module.name.split(".")
        package = package[: len(package) - node.level + (1 if module.is_package else 0)]
        source = ".".join([*package, *([source] if source else [])])
    for alias in node.names:
        yield alias.asname or alias.name, (source, alias.name)


def is_text(node: ast.AST) -> bool:
    """Return True for a statement that is only a text, such as a docstring."""
    return (
        isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
    )


def attribute_names(node: ast.ClassDef) -> Iterator[str]:
    """Yield the names of a class's fields, methods and attributes of `self`, in order of appearance."""
    for statement in node.body:
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            yield statement.target.id
        elif isinstance(statement, ast.Assign):
            yield from (target.id for target in statement.targets if isinstance(target, ast.Name))
        elif isinstance(statement, ast.FunctionDef | ast.AsyncFunctionDef):
            yield statement.name
            for part in ast.walk(statement):
                if (
                    isinstance(part, ast.Attribute)
                    and isinstance(part.ctx, ast.Store)
                    and isinstance(part.value, ast.Name)
                    and part.value.id == "self"
                ):
                    yield part.attr
