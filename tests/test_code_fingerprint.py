"""What changes the fingerprint of code, and what does not, on small packages written for each test."""

import itertools
import textwrap
from pathlib import Path

import pytest

from lgad_pipeline.code_fingerprint import code_fingerprint
from lgad_pipeline.errors import LgadError

TRAIN = '''
import math
from {package}.rates import RATE, half, twice
from {package}.state import State

def train(steps, seed=3):
    """Train."""
    state = State(seed)
    for step in range(steps):
        state.total += half(value=RATE) * step  # as in the paper
        if math.isnan(state.total):
            raise ValueError("not a number")
    return twice(state.total)
'''
RATES = """
RATE = 0.5

def half(value):
    return value / 2

def twice(value):
    return value * 2

def unused(value):
    return value
"""
STATE = """
class State:
    def __init__(self, seed):
        self.seed = seed
        self.total = 0.0

    def reset(self):
        self.total = 0.0
"""
_NUMBERS = itertools.count()


@pytest.fixture
def digest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    """Write a package and return the fingerprint of its function `train`."""
    monkeypatch.syspath_prepend(str(tmp_path))

    def written(train: str = TRAIN, entry: str = "train:train", **modules: str) -> str:
        package = f"fingerprinted_{next(_NUMBERS)}"
        files = {"__init__": "", "train": train, "rates": RATES, "state": STATE, **modules}
        (tmp_path / package).mkdir()
        for name, source in files.items():
            text = textwrap.dedent(source).replace("{package}", package)
            (tmp_path / package / f"{name}.py").write_text(text, encoding="utf-8")
        return code_fingerprint(f"{package}.{entry}")

    return written


SAME = {
    "docstring": {"train": TRAIN.replace('"""Train."""', '"""Train a network.\n\n    Long text.\n    """')},
    "comment": {"train": TRAIN.replace("  # as in the paper", "")},
    "formatting": {"train": TRAIN.replace("range(steps)", "range(\n        steps,\n    )")},
    "annotation": {
        "train": TRAIN.replace("def train(steps, seed=3)", "def train(steps: int, seed: int = 3) -> float")
    },
    "error text": {"train": TRAIN.replace("not a number", "The loss is not a number; lower the rate.")},
    "local variable": {
        "train": TRAIN.replace("state", "current").replace("{package}.current", "{package}.state")
    },
    "parameter": {"train": TRAIN.replace("steps", "rounds")},
    "function": {"train": TRAIN.replace("half", "halved"), "rates": RATES.replace("half", "halved")},
    "parameter named in a call": {
        "train": TRAIN.replace("value=", "x="),
        "rates": RATES.replace("value", "x"),
    },
    "constant's name": {
        "train": TRAIN.replace("RATE", "STEP_SIZE"),
        "rates": RATES.replace("RATE", "STEP_SIZE"),
    },
    "class": {"train": TRAIN.replace("State", "Sums"), "state": STATE.replace("State", "Sums")},
    "attribute": {"train": TRAIN.replace(".total", ".sum"), "state": STATE.replace(".total", ".sum")},
    "method": {"state": STATE.replace("reset", "restart")},
    "entry point": {"train": TRAIN.replace("def train", "def fit"), "entry": "train:fit"},
    "code that is not reached": {"rates": RATES.replace("return value\n", "return value + 1\n")},
    "moved definition": {
        "train": TRAIN.replace(
            "{package}.rates import RATE, half, twice", "{package}.other import RATE, half, twice"
        ),
        "rates": "",
        "other": RATES,
    },
    "definition behind a re-export": {
        "rates": "from {package}.other import RATE, half, twice\n",
        "other": RATES,
    },
    "module instead of names": {
        "train": TRAIN.replace("from {package}.rates import RATE, half, twice", "from {package} import rates")
        .replace("half(", "rates.half(")
        .replace("RATE", "rates.RATE")
        .replace("twice(", "rates.twice("),
    },
}
DIFFERENT = {
    "constant in a module": {"rates": RATES.replace("0.5", "0.25")},
    "constant in a function": {"rates": RATES.replace("value / 2", "value / 3")},
    "default of a parameter": {"train": TRAIN.replace("seed=3", "seed=4")},
    "operator": {"train": TRAIN.replace("* step", "+ step")},
    "another function of the project": {"train": TRAIN.replace("return twice", "return half")},
    "exchanged functions": {
        "train": TRAIN.replace("twice", "third").replace("half", "twice").replace("third", "half")
    },
    "function of another package": {"train": TRAIN.replace("isnan", "isinf")},
    "another attribute": {"train": TRAIN.replace("twice(state.total)", "twice(state.seed)")},
    "exchanged local variables": {"train": TRAIN.replace("State(seed)", "State(steps)")},
    "order of statements": {
        "state": STATE.replace(
            "self.seed = seed\n        self.total = 0.0", "self.total = 0.0\n        self.seed = seed"
        )
    },
    "an error that is not raised": {"train": TRAIN.replace('raise ValueError("not a number")', "break")},
    "class of an error": {"train": TRAIN.replace("raise ValueError", "raise OverflowError")},
}
# Code in place of RATES -> a change of it.
CHANGED = {
    "argument of a decorator": ("@cut(2)\ndef half(value):\n    return value\n", "cut(2)", "cut(3)"),
    "function of a decorator": ("@cut(2)\ndef half(value):\n    return value\n", "number - 1", "number - 2"),
    "default that is a keyword": ("def half(value, *, by=2):\n    return value / by\n", "by=2", "by=3"),
    "constant behind a constant": ("STEP = 2\nRATE = STEP * 2\n", "STEP = 2", "STEP = 3"),
    "constant of a class": (
        "class Half:\n    by = 2\n\ndef half(value):\n    return value / Half.by\n",
        "by = 2",
        "by = 3",
    ),
    "method of a base class": (
        "class Base:\n    def by(self):\n        return 2\n\nclass Half(Base):\n    pass\n\n"
        "def half(value):\n    return value / Half().by()\n",
        "return 2",
        "return 3",
    ),
    "entry of a table": (
        "TABLE = {'half': 2}\n\ndef half(value):\n    return value / TABLE['half']\n",
        ": 2}",
        ": 3}",
    ),
    "constant that a function imports": (
        "def half(value):\n    from {package}.state import BY\n    return value / BY\n",
        "BY = 2",
        "BY = 3",
    ),
    "condition of a comprehension": (
        "def half(value):\n    return sum(v for v in [value] if v > 0)\n",
        "v > 0",
        "v >= 0",
    ),
    "condition of the module": (
        "FAST = True\nif FAST:\n    SIZE = 2\nelse:\n    SIZE = 4\n\n"
        "def half(value):\n    return value / SIZE\n",
        "if FAST",
        "if not FAST",
    ),
    "function with the name of a parameter of another method": (
        "def by(value):\n    return 2\n\nclass Half:\n    def a(self, by):\n        return by\n\n"
        "    def b(self, value):\n        return by(value)\n\ndef half(value):\n    return Half().b(value)\n",
        "return 2",
        "return 3",
    ),
    "function with the name of an attribute of its class": (
        "def by():\n    return 2\n\n"
        "class Half:\n    by = 5\n\n    def b(self, value):\n        return by()\n\n"
        "def half(value):\n    return Half().b(value)\n",
        "return 2",
        "return 3",
    ),
    "default with the name of its parameter": (
        "by = 2\n\ndef half(value, by=by):\n    return value / by\n",
        "by = 2",
        "by = 3",
    ),
    "default of a lambda with the name of its parameter": (
        "by = 2\n\ndef half(value):\n    return (lambda value, by=by: value / by)(value)\n",
        "by = 2",
        "by = 3",
    ),
    "global name of a nested function": (
        "SIZE = 2\n\ndef half(value):\n    SIZE = 4\n\n    def inner():\n        global SIZE\n"
        "        return SIZE\n\n    return value / inner() / SIZE\n",
        "SIZE = 2",
        "SIZE = 3",
    ),
    "method of a class in a quoted annotation": (
        "class Half:\n    def by(self):\n        return 2\n\n"
        "def half(value: 'list[Half]'):\n    return value[0].by()\n",
        "return 2",
        "return 3",
    ),
    "statement of the module": (
        "TABLE = {}\nTABLE['half'] = 2\n\ndef half(value):\n    return value / TABLE['half']\n",
        "= 2",
        "= 3",
    ),
}
HELPER = "def cut(number):\n    return lambda function: lambda value: function(value) / (number - 1)\n\n"


@pytest.mark.parametrize("change", SAME)
def test_a_change_of_words_or_places_does_not_change_it(change: str, digest):
    assert digest(**SAME[change]) == digest()


@pytest.mark.parametrize("change", DIFFERENT)
def test_a_change_of_behaviour_changes_it(change: str, digest):
    assert digest(**DIFFERENT[change]) != digest()


@pytest.mark.parametrize("change", CHANGED)
def test_a_change_in_code_that_is_reached_indirectly_changes_it(change: str, digest):
    code, old, new = CHANGED[change]
    given = "RATE = 0.5\n\ndef half(value):\n    return value\n\ndef twice(value):\n    return value\n\n"
    files = {"rates": HELPER + given + code, "state": STATE + "\nBY = 2\n"}
    changed = {name: text.replace(old, new) for name, text in files.items()}
    assert files != changed and digest(**files) == digest(**files) != digest(**changed)


def test_names_in_a_constant_and_in_a_class_have_no_influence(digest):
    table = """
        class A:
            {size} = 2
            sizes = [{x} * 3 for {x} in range({size})]

        TABLE = [lambda {a}, b=A: {a} + {i} for {i} in range(3)]

        def train():
            return TABLE
        """
    first = table.format(size="size", x="x", a="a", i="i")
    assert digest(train=first) == digest(train=table.format(size="height", x="y", a="c", i="j"))
    assert digest(train=first) != digest(train=table.format(size="size", x="x", a="a", i="a"))


def test_an_entry_point_may_be_a_name_that_its_package_imports(digest):
    of_package = digest(entry="again:train", again="from {package}.train import train\n")
    assert (
        of_package
        == digest()
        != digest(entry="again:train", again="from {package}.rates import half as train\n")
    )


def test_a_word_of_a_literal_is_no_function(digest):
    code = """
        from typing import Literal

        def other():
            return {number}

        def train(kind: Literal["other"]):
            return kind
        """
    assert digest(train=code.format(number=1)) == digest(train=code.format(number=2))


def test_functions_that_call_each_other_have_a_fingerprint(digest):
    even = (
        "def train(n):\n    return n == 0 or odd(n - 1)\n\ndef odd(n):\n    return n != 0 and train(n - 1)\n"
    )
    assert digest(train=even) == digest(train=even.replace("odd", "uneven"))
    assert digest(train=even) != digest(train=even.replace("n != 0", "n != 1"))


def test_an_import_path_in_a_registry_reaches_the_class(digest):
    registry = (
        'NETWORKS = {"state": "{package}.state:State"}\n\ndef train(name):\n    return NETWORKS[name]\n'
    )
    assert digest(train=registry) != digest(train=registry, state=STATE.replace("0.0", "1.0"))


def test_a_module_in_a_registry_is_reached_as_a_whole(digest):
    registry = "from {package} import state\n\nREADERS = {'state': state}\n\n"
    registry += "def train(name):\n    return READERS[name]\n"
    assert digest(train=registry) != digest(train=registry, state=STATE.replace("0.0", "1.0"))


def test_a_decorated_registration_in_a_reached_module_counts(digest):
    register = (
        "\nTABLE = {}\n\ndef register(f):\n    TABLE[f.__name__] = f\n    return f\n\nregister(unused)\n"
    )
    changed = RATES.replace("return value\n", "return value + 1\n")
    assert digest(rates=RATES + register) != digest(rates=changed + register)


def test_entry_points_that_do_not_exist_are_named():
    for entry in (
        "lgad_pipeline.atomic_files:missing",
        "lgad_pipeline.missing:f",
        "no_such_package:f",
        "lgad_pipeline",
    ):
        with pytest.raises(LgadError, match=entry.partition(":")[0]):
            code_fingerprint(entry)
