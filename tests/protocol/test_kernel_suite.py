"""jupyter_kernel_test: the proxied kernel gives the same result list as python3 in the same run."""

from __future__ import annotations

import sys
import unittest
from typing import Any

import jupyter_kernel_test
import pytest
from jupyter_client.kernelspec import KernelSpecManager

Results = list[tuple[str, str]]


SAMPLES: dict[str, Any] = {
    "language_name": "python",
    "file_extension": ".py",
    "code_hello_world": "print('hello, world')",
    "code_stderr": "import sys; print('test', file=sys.stderr)",
    "completion_samples": [{"text": "zi", "matches": {"zip"}}, {"text": "impor", "matches": {"import"}}],
    "complete_code_samples": ["1", "print('hello, world')", "def f(x):\n  return x*2\n\n\n", "%matplotlib inline"],
    "incomplete_code_samples": ["print('''hello", "def f(x):\n  x*2"],
    "invalid_code_samples": ["import = 7q"],
    "code_page_something": "zip?",
    "code_generate_error": "raise ValueError('x')",
    "code_execute_result": [
        {"code": "1+2+3", "result": "6"},
        {"code": "[n*n for n in range(1, 4)]", "result": "[1, 4, 9]"},
    ],
    "code_display_data": [
        {"code": "from IPython.display import HTML, display; display(HTML('<b>x</b>'))", "mime": "text/html"}
    ],
    "code_history_pattern": "1?2*",
    "supported_history_operations": ("tail", "search"),
    "code_inspect_sample": "zip",
    "code_clear_output": "from IPython.display import clear_output; clear_output()",
}


def suite_for(kernel: str) -> type[jupyter_kernel_test.KernelTests]:
    return type("Suite", (jupyter_kernel_test.KernelTests,), {**SAMPLES, "kernel_name": kernel})


class Recorder(unittest.TestResult):
    """Notes the outcome of every test and sub-test."""

    def __init__(self) -> None:
        super().__init__()
        self.noted: Results = []

    def addSuccess(self, test: unittest.TestCase) -> None:
        self.noted.append((test.id().rpartition(".")[2], "passed"))

    def addFailure(self, test: unittest.TestCase, err: Any) -> None:
        self.noted.append((test.id().rpartition(".")[2], "failed"))

    addError = addFailure

    def addSkip(self, test: unittest.TestCase, reason: str) -> None:
        self.noted.append((test.id().rpartition(".")[2], f"skipped: {reason}"))

    def addSubTest(self, test: unittest.TestCase, subtest: unittest.TestCase, err: Any) -> None:
        self.noted.append((subtest.id().rpartition("test_")[2], "failed" if err else "passed"))


def results_of(kernel: str) -> Results:
    recorder = Recorder()
    unittest.defaultTestLoader.loadTestsFromTestCase(suite_for(kernel)).run(recorder)
    return recorder.noted


@pytest.fixture(scope="module")
def plain() -> Results:
    """The results of python3 in this run."""
    results = results_of("python3")
    assert sum(outcome == "passed" for _, outcome in results) >= 15, results
    return results


def test_same_results_as_python3(plain: Results) -> None:
    assert results_of("cloister-local") == plain


def test_same_results_behind_an_attested_enclave(plain: Results, attested: str) -> None:
    assert results_of(attested) == plain


def test_refused_enclave_passes_what_needs_no_enclave() -> None:
    noted = dict(results_of("cloister-refused"))
    assert noted["test_kernel_info"] == noted["test_is_complete"] == noted["test_error"] == "passed"
    failing = [name for name, outcome in noted.items() if outcome == "failed"]
    assert "test_execute_stdout" in failing


def test_python3_here_is_this_python() -> None:
    """The comparison is only fair if both kernels run the same interpreter."""
    assert KernelSpecManager().get_kernel_spec("python3").argv[0] in (sys.executable, "python")
