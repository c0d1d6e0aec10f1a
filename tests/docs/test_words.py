"""Words that code and docs do not use, because readers whose first language is another do not know them.

Quotations do not count: in Markdown, text between double quotes or backticks. `ALLOWED` holds the files that
still have such words, with their number; a number may fall, never rise.
"""

import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parents[2]
WORDS = [
    "anew",
    "as it is said",
    "beside",
    "goes on",
    "held still",
    "house",
    "lessons?",
    "lies",
    "makes of",
    "mend(s|ed|ing)?",
    "one's own",
    "orchestra",
    "roofs?",
    "rooms?",
    "set aside",
    "spoil(s|ed|ing|t)?",
    "stands",
    "taken",
    "thrown away",
    "told",
    "unspoiled",
    "upon",
]
# Parts of the drawn vehicles and of the scenery.
DRAWN = re.compile(r"(?<![A-Za-z])(house|roof)(?![A-Za-z])", re.IGNORECASE)
PATTERN = re.compile(rf"(?<![A-Za-z])({'|'.join(WORDS)})(?![A-Za-z])", re.IGNORECASE)
SUFFIXES = {
    ".py",
    ".md",
    ".yaml",
    ".yml",
    ".toml",
    ".html",
    ".css",
    ".cff",
    ".service",
    ".example",
    ".sql",
    "",
}
NOT_CODE = {"LICENSE", "tests/docs/test_words.py"}
ALLOWED: dict[str, int] = {
    "assets/network_checks.py": 2,
    "assets/notifications.py": 4,
    "assets/presentation/svg_charts.py": 4,
    "assets/sensors.py": 4,
    "benchmarks/faults.py": 3,
    "benchmarks/ingestion.py": 1,
    "benchmarks/killed.py": 1,
    "demo.py": 2,
    "lgad_pipeline/code_fingerprint.py": 1,
    "lgad_pipeline/data/frame_table.py": 2,
    "lgad_pipeline/lanes/polyfit.py": 1,
    "lgad_pipeline/lanes/spline.py": 1,
    "resources/links.py": 1,
    "resources/mlflow/addresses.py": 1,
    "resources/mlflow/journal_file.py": 1,
    "resources/mlflow/served_model.py": 2,
    "resources/mlflow/store.py": 1,
    "resources/paths.py": 4,
    "tests/assets/test_chain.py": 8,
    "tests/assets/test_sensors.py": 11,
    "tests/cli/test_inference.py": 17,
    "tests/cli/test_main.py": 6,
    "tests/data/test_disk_full.py": 4,
    "tests/data/test_frame_table.py": 1,
    "tests/data/test_fuzz.py": 1,
    "tests/data/test_ingestion_cache.py": 2,
    "tests/data/test_loader.py": 1,
    "tests/data/test_shard_file.py": 3,
    "tests/data/test_shards.py": 11,
    "tests/datasets/test_archive.py": 3,
    "tests/datasets/test_culane.py": 4,
    "tests/datasets/test_tusimple.py": 1,
    "tests/evaluation/test_frame_sizes.py": 1,
    "tests/evaluation/test_tusimple.py": 3,
    "tests/evaluation/test_tusimple_students.py": 1,
    "tests/networks/test_checkpoint.py": 1,
    "tests/resources/test_addresses.py": 1,
    "tests/settings/test_settings.py": 11,
    "tests/support/services.py": 1,
    "tests/test_demo.py": 3,
    "tests/test_manifest.py": 3,
    "tests/visualization/test_dataset_sheet.py": 8,
    "tests_ui/conftest.py": 4,
    "ui.py": 3,
}


def hits(text: str, suffix: str) -> list[str]:
    """Return `line: word` of each word of the list."""
    if suffix == ".md":
        text = re.sub(r"`[^`\n]+`|\"[^\"\n]+\"", "", text)
    return [
        f"{number}: {match.group()}"
        for number, line in enumerate(text.splitlines(), 1)
        for match in PATTERN.finditer(line)
    ]


def count_words() -> dict[str, list[str]]:
    """Return the hits of each tracked file that has any."""
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True)
    found = {}
    for name in listed.stdout.splitlines():
        path = ROOT / name
        if name in NOT_CODE or path.suffix not in SUFFIXES or not path.is_file():
            continue
        text = path.read_text(encoding="utf-8")
        if name.startswith("lgad_pipeline/synthetic/"):
            text = DRAWN.sub("", text)
        words = hits(text, path.suffix)
        if words:
            found[name] = words
    return found


def test_words_of_the_list_are_not_used():
    found = count_words()
    excess = {name: words for name, words in found.items() if len(words) > ALLOWED.get(name, 0)}
    assert not excess, "\n".join(f"{name}: {words}" for name, words in excess.items())
