"""YAML files of settings: safe reading, and lgad.local.yaml merged over lgad.yaml."""

import gc
import re
from collections.abc import Hashable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import yaml

from lgad_pipeline.errors import LgadError, os_fault
from lgad_pipeline.lanes.text_encoding import plain_text

# Nested aliases multiply: 32 of them can make 100,000 values of one, 64 can make 10^10.
_MOST_ALIASES = 32
_COMMENT_BEHIND_ROOT = re.compile(r"""^\s*root\s*:\s+([^\s"'#][^#\n]*?)[ \t]+(#.*)$""", re.MULTILINE)
_MAYBE_ALIAS = re.compile(r"\*\w")


def local_path(path: Path) -> Path:
    """Return the settings of this machine alone, next to a settings file: lgad.local.yaml for lgad.yaml."""
    return path.with_suffix(f".local{path.suffix}")


def read_yaml(path: Path) -> object:
    """Return the values of a YAML file.

    Raises:
        LgadError: the file cannot be read, is not valid YAML, has a key twice, has too many aliases, or has a
            number that YAML 1.1 and 1.2 read differently.
    """
    try:
        text = plain_text(path.read_bytes()).decode()
        # LibYAML bounds the depth of nesting, for which the pure Python loader needs quadratic time.
        if len(_MAYBE_ALIAS.findall(text)) > _MOST_ALIASES:
            aliases = sum(isinstance(event, yaml.AliasEvent) for event in yaml.parse(text, yaml.CSafeLoader))
            if aliases > _MOST_ALIASES:
                raise LgadError(
                    f"{path} has more than {_MOST_ALIASES} aliases (*name); write some of them out."
                )
        with _without_collector():
            content = yaml.load(text, _Loader)
        if _holds_itself(content, set(), set()):
            raise LgadError(
                f"{path} has an alias (*name) within its own anchor (&name); write the value out."
            )
        return content
    except FileNotFoundError as error:
        remedy = "run in the project's folder or name it in the environment variable LGAD_SETTINGS"
        if path.is_symlink():
            remedy = "it is a link to a missing file: mount the disk of that file, or remove the link"
        raise LgadError(f"{path} cannot be read ({error.strerror}); {remedy}.") from error
    except OSError as error:
        raise os_fault(error, path, "read") from error
    except UnicodeError as error:
        raise LgadError(f"{path} is not UTF-8 ({error}); save it as UTF-8.") from error
    except (yaml.YAMLError, ValueError, TypeError, RecursionError) as error:
        reason = " ".join(str(error).split())
        raise LgadError(f"{path} is not valid YAML: {reason}; correct that line.") from error


def comments_behind_roots(path: Path) -> dict[str, str]:
    """Return the roots of a settings file that have a comment on their line, each with the comment.

    A root without quotes, such as `/data/set #18`, ends where the comment begins.
    """
    try:
        text = plain_text(path.read_bytes()).decode()
    except (OSError, UnicodeError):
        return {}
    return dict(_COMMENT_BEHIND_ROOT.findall(text))


def _holds_itself(content: object, above: set[int], checked: set[int]) -> bool:
    """Return True if a mapping or list is among its own values, at any depth.

    Args:
        content: values of a YAML file.
        above: identities of the mappings and lists that hold `content`.
        checked: identities of the mappings and lists that were checked already.
    """
    if not isinstance(content, dict | list):
        return False
    if id(content) in above:
        return True
    if id(content) in checked:
        return False
    checked.add(id(content))
    values = content.values() if isinstance(content, dict) else content
    return any(_holds_itself(value, above | {id(content)}, checked) for value in values)


def merged(base: Mapping[Any, Any], local: Mapping[Any, Any]) -> dict[Any, Any]:
    """Return `base` with the values of `local`: mappings are merged by key, other values are replaced."""
    result = dict(base)
    for key, value in local.items():
        before = result.get(key)
        if isinstance(before, Mapping) and isinstance(value, Mapping):
            value = merged(before, value)
        result[key] = value
    return result


def holds(content: object, keys: tuple[Any, ...]) -> bool:
    """Return True if nested mappings or lists have a value at this path of keys."""
    for key in keys:
        indexed = isinstance(content, list | tuple) and isinstance(key, int) and key < len(content)
        if not indexed and not (isinstance(content, Mapping) and key in content):
            return False
        content = content[key]  # type: ignore[index]
    return True


@contextmanager
def _without_collector() -> Iterator[None]:
    """Pause the garbage collector, which would walk the nodes of a large file again and again."""
    enabled = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if enabled:
            gc.enable()


class _Loader(yaml.CSafeLoader):
    """Safe loader that refuses keys that are written twice, and octal (0240) and base 60 numbers (4:00).

    PyYAML would silently use the last value of the key, and the numbers 160 and 240.
    """

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Hashable, Any]:
        keys = set()
        for key, _ in node.value:
            if isinstance(key, yaml.ScalarNode) and key.tag != "tag:yaml.org,2002:merge":
                if (key.tag, key.value) in keys:
                    raise yaml.constructor.ConstructorError(
                        None, None, f"the key {key.value!r} is there twice", key.start_mark
                    )
                keys.add((key.tag, key.value))
        return super().construct_mapping(node, deep)

    def construct_number(self, node: yaml.ScalarNode) -> float:
        """Return the value of a number."""
        whole = node.tag == "tag:yaml.org,2002:int"
        value = self.construct_yaml_int(node) if whole else self.construct_yaml_float(node)
        text = node.value.replace("_", "")
        octal = whole and text.lstrip("+-").isdecimal() and int(text) != value
        if octal or ":" in text:
            raise yaml.constructor.ConstructorError(
                None,
                None,
                f"{node.value} would be read as {'octal' if octal else 'base 60'}, the number {value}; "
                "write a decimal number without leading zeros, or put a text in quotes",
                node.start_mark,
            )
        return value


for _tag in ("int", "float"):
    _Loader.add_constructor(f"tag:yaml.org,2002:{_tag}", _Loader.construct_number)
