"""What the base installation says when a command needs an extra: words and a next step, never a traceback."""

from __future__ import annotations

import subprocess
import sys

import pytest

WITHOUT = """
import sys
for name in ("pyarrow", "sqlalchemy", "starlette", "uvicorn", "duckdb", "opendp", "statsmodels"):
    sys.modules[name] = None
import runpy
sys.argv = {argv!r}
{run}
"""
CLI = "from cloister.cli import main; main()"
DEMO = "runpy.run_module('cloister.demo', run_name='__main__', alter_sys=True)"


def without_extras(run: str, *arguments: str, home: str) -> subprocess.CompletedProcess[str]:
    code = WITHOUT.format(argv=["cloister", *arguments], run=run)
    return subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=60,
        env={"CLOISTER_HOME": home},
        check=False,
    )


@pytest.mark.parametrize(
    ("run", "arguments"),
    [
        (CLI, ("demo", "up")),
        (CLI, ("seal", "card.json", "data.csv")),
        (CLI, ("broker", "init", "--policy", "x")),
        (DEMO, ("up",)),
    ],
)
def test_a_missing_extra_is_said_with_the_command_that_installs_it(run, arguments, tmp_path):
    done = without_extras(run, *arguments, home=str(tmp_path))
    assert done.returncode == 1
    assert "[install.extra]" in done.stderr
    assert "pip install 'cloister[" in done.stderr
    assert "Traceback" not in done.stderr


def test_help_and_verify_need_no_extra(tmp_path):
    assert without_extras(CLI, "--help", home=str(tmp_path)).returncode == 0
    done = without_extras(CLI, "verify", str(tmp_path / "none.ipynb"), home=str(tmp_path))
    assert "[notebook.file]" in done.stderr


@pytest.mark.parametrize("command", ["verify", "status", "run"])
def test_a_command_of_analysts_loads_nothing_of_the_providers(command):
    """A reviewer's `cloister verify` starts in half the time without the broker's database."""
    code = (
        f"import sys; sys.argv = ['cloister', '{command}', '--help']\n"
        "from cloister.cli import main\n"
        "try: main()\n"
        "except SystemExit as done: assert not done.code\n"
        "assert not any(name.startswith(('sqlalchemy', 'pyarrow', 'cloister.provider')) for name in sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True, stdout=subprocess.DEVNULL)
