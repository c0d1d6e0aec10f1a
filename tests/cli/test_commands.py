import os
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


def test_waiting_threads_sleep_and_torch_is_not_imported_before_the_variable_is_set():
    code = (
        "import os, sys\nsys.argv = ['lgad', '--version']\nfrom lgad_pipeline.cli.main import main\n"
        "assert 'torch' not in sys.modules\n"
        "try:\n    main()\nexcept SystemExit:\n    print(os.environ['OMP_WAIT_POLICY'])"
    )
    for policy, expected in ((None, "PASSIVE"), ("ACTIVE", "ACTIVE")):
        environment = {key: value for key, value in os.environ.items() if key != "OMP_WAIT_POLICY"}
        environment |= {"OMP_WAIT_POLICY": policy} if policy else {}
        shown = subprocess.run(
            [sys.executable, "-c", code], check=True, capture_output=True, text=True, env=environment
        )
        assert shown.stdout.split()[-1] == expected
