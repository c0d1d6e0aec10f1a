"""The public interface: complete, lazy, documented, and with an example for each name."""

import ast
import doctest
import inspect
import re
import subprocess
import sys
from pathlib import Path

import pytest

import lgad_pipeline
from lgad_pipeline.datasets import registry as datasets
from lgad_pipeline.distillation import registry as losses
from lgad_pipeline.networks import registry as networks

ROOT = Path(__file__).parents[1]
NAMES = [name for name in lgad_pipeline.__all__ if name != "__version__"]


def names_in_examples() -> set[str]:
    names: set[str] = set()
    for path in (ROOT / "examples").glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and node.module == "lgad_pipeline":
                names.update(alias.name for alias in node.names)
    return names


def test_import_loads_no_heavy_package():
    code = (
        "import sys, lgad_pipeline; "
        "assert lgad_pipeline.__version__; "
        "print(sorted({'torch', 'pandas', 'cv2', 'pyarrow', 'numpy', 'pydantic'} & set(sys.modules)))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert finished.stdout.strip() == "[]"


@pytest.mark.parametrize("name", NAMES)
def test_name_imports_and_is_documented(name):
    value = getattr(lgad_pipeline, name)
    assert inspect.getdoc(value), f"{name} has no docstring"
    assert name in dir(lgad_pipeline)


def test_unknown_name_is_an_attribute_error():
    with pytest.raises(AttributeError, match="no_such_name"):
        _ = lgad_pipeline.no_such_name  # type: ignore[attr-defined]


def test_types_of_editors_and_lazy_names_agree():
    source = Path(lgad_pipeline.__file__).read_text(encoding="utf-8")
    (block,) = [node for node in ast.parse(source).body if isinstance(node, ast.If)]
    imported = {
        alias.asname or alias.name: f"{(node.module or '').removeprefix('lgad_pipeline.')}:{alias.name}"
        for node in block.body
        if isinstance(node, ast.ImportFrom)
        for alias in node.names
    }
    assert imported == lgad_pipeline._ORIGIN
    assert sorted([*imported, "__version__"]) == sorted(lgad_pipeline.__all__)


@pytest.mark.parametrize("name", NAMES)
def test_name_has_an_example(name):
    documentation = inspect.getdoc(getattr(lgad_pipeline, name)) or ""
    assert ">>>" in documentation or name in names_in_examples(), (
        f"{name} has neither an Example: in its docstring nor a use in examples/"
    )


def test_reference_lists_every_name():
    pages = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "docs/api").glob("*.md"))
    assert sorted(re.findall(r"^::: lgad_pipeline\.(\w+)$", pages, re.M)) == sorted(NAMES)


@pytest.mark.parametrize("name", NAMES)
def test_example_of_the_docstring_runs(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    value = getattr(lgad_pipeline, name)
    module = vars(sys.modules[value.__module__])
    for registry, entries in (
        (datasets, "DATASET_READERS"),
        (losses, "_registered"),
        (networks, "_registered"),
    ):  # so that what an example registers is not left to the tests after it
        monkeypatch.setattr(registry, entries, dict(getattr(registry, entries)))
    tests = doctest.DocTestFinder(recurse=False).find(value, name, globs=dict(module))
    options = doctest.NORMALIZE_WHITESPACE | doctest.ELLIPSIS
    runner = doctest.DocTestRunner(optionflags=options)
    report: list[str] = []
    for test in tests:
        runner.run(test, out=report.append)
    assert runner.summarize(verbose=False).failed == 0, "".join(report)


def test_every_module_of_the_library_can_be_imported_without_dagster_mlflow_and_ray():
    program = """
import importlib, pkgutil, sys
sys.modules |= dict.fromkeys(("dagster", "mlflow", "ray"))  # None: their import is an error
import lgad_pipeline
modules = [module.name for module in pkgutil.walk_packages(lgad_pipeline.__path__, "lgad_pipeline.")]
for name in modules:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(len(modules))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert int(done.stdout) > 150
