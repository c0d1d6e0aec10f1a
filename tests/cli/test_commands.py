import subprocess
import sys

import pytest

from lgad_pipeline.cli.commands import COMMANDS, load_command


@pytest.mark.parametrize("name", COMMANDS)
def test_the_listed_help_is_that_of_the_command(name):
    command = load_command(name)
    assert command.name == name
    assert (command.help or "").split("\n\n")[0].replace("\n", " ") == COMMANDS[name][1]


def test_the_help_imports_no_module_of_a_command():
    code = (
        "import sys\nsys.argv = ['lgad', '--help']\nfrom lgad_pipeline.cli.main import main\n"
        "try:\n    main()\nexcept SystemExit:\n    pass\n"
        "print([name for name in ('numpy', 'pandas', 'cv2', 'torch', 'yaml') if name in sys.modules])"
    )
    shown = subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout
    assert shown.splitlines()[-1] == "[]"
    assert all(name in shown for name in COMMANDS)
