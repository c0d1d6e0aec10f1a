"""Fingerprint of the source code of another package's network, loss or reader, without importing it."""

import ast
import sys
from functools import lru_cache
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from weakref import WeakKeyDictionary

from lgad_pipeline.errors import LgadError

_INSTALLED = {"site-packages", "dist-packages"}
_DOCUMENTED = (ast.Module, ast.ClassDef, ast.FunctionDef, ast.AsyncFunctionDef)
_SPATIAL = ("scnn", "resa")  # prefixes of names whose backbone follows
_PACKAGES = {"timm": "timm", "smp": "segmentation-models-pytorch"}  # prefix -> distribution
_OWN = __name__.partition(".")[0]
_imported: WeakKeyDictionary[ModuleType, str] = WeakKeyDictionary()
_registered: dict[str, str] = {}


def register_source(name: str, import_path: str) -> None:
    """Record which class a registered short name means, so that `source_digest` covers its code.

    Args:
        name: short name of the network.
        import_path: `package.module:Class`.
    """
    _registered[name] = import_path


def source_digest(network: str) -> str:
    """Return a fingerprint of the code of a network, a loss or a reader of another package.

    It covers the file of the module, or all files of its top-level package, and likewise the modules that
    these import, except installed packages. Comments, docstrings and formatting have no influence.

    Of timm and segmentation_models_pytorch it covers the version.

    Args:
        network: `package.module:Class`, a short name, or a name with a prefix such as `timm:resnet18`.

    Returns:
        BLAKE2b-128, hexadecimal; empty for a network of this package, whose code is part of the fingerprint
        of every training, and for a network whose file is not found.
    """
    module, separator, rest = _registered.get(network, network).partition(":")
    if separator and module in _SPATIAL:
        return source_digest(rest)
    if separator and module in _PACKAGES:
        return blake2b(_version(_PACKAGES[module]).encode(), digest_size=16).hexdigest()
    files_of: dict[str, list[Path]] = {}
    if separator:
        _collect(module.partition(".")[0], files_of, named=True)
    digest = blake2b(digest_size=16)
    for name in sorted(files_of):
        digest.update(name.encode())
        for path in files_of[name]:
            digest.update(_parsed(path, path.stat().st_mtime_ns)[0])
    return digest.hexdigest() if files_of else ""


def check_source_is_imported(network: str) -> None:
    """Check that the file of a network was not changed after this process imported it.

    Python runs the old code until the process ends, while the fingerprint is that of the new code.

    Args:
        network: as for `source_digest`; its module is imported.

    Raises:
        LgadError: the code differs from that of the first call in this process.
    """
    path = _registered.get(network, network)
    module = sys.modules.get(path.partition(":")[0]) if ":" in path else None
    if module is None:
        return
    digest = source_digest(network)
    if _imported.setdefault(module, digest) != digest:
        raise LgadError(
            f"The code of network {network} was changed after this process had imported it; "
            "start the process again, so that the new code is trained."
        )


def _version(distribution: str) -> str:
    try:
        return version(distribution)
    except PackageNotFoundError:
        return ""


def _collect(name: str, files_of: dict[str, list[Path]], named: bool = False) -> None:
    """Add the files of a top-level module and of those that it imports."""
    if name in files_of or name in sys.stdlib_module_names or name == _OWN:
        return
    places = _places(name)
    installed = any(_INSTALLED.intersection(place.parts) for place in places)
    if installed and not named:  # without listing the thousands of files of torch
        return
    files = sorted(file for place in places for file in ([place] if place.is_file() else place.rglob("*.py")))
    if not files:
        return
    files_of[name] = files
    if not installed:
        for file in files:
            for imported in _parsed(file, file.stat().st_mtime_ns)[1]:
                _collect(imported, files_of)


def _places(name: str) -> list[Path]:
    """Return the file of a top-level module, or the directories of a package; empty if there are none."""
    try:
        spec = find_spec(name)
    except (ImportError, ValueError):  # modules without a spec, such as __main__, raise ValueError
        return []
    if spec is None:
        return []
    if spec.submodule_search_locations:
        return [Path(folder) for folder in spec.submodule_search_locations]
    return [Path(spec.origin)] if spec.origin and spec.origin.endswith(".py") else []


@lru_cache(maxsize=4096)
def _parsed(path: Path, modified: int) -> tuple[bytes, frozenset[str]]:
    """Return a digest of a file's code and the top-level modules that it imports.

    Args:
        path: Python file.
        modified: modification time of the file, ns; with it a changed file misses the cache.
    """
    content = path.read_bytes()
    try:
        tree = ast.parse(content)
    except (SyntaxError, ValueError):  # importing the module reports the error
        return content, frozenset()
    imported: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            imported |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            imported.add(node.module.partition(".")[0])
        elif isinstance(node, _DOCUMENTED) and ast.get_docstring(node, clean=False) is not None:
            node.body = node.body[1:]
    return blake2b(ast.dump(tree).encode(), digest_size=16).digest(), frozenset(imported)
