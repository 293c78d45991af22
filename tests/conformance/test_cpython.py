"""CPython's own tests of an event loop pass on ours."""

from __future__ import annotations

import importlib.util
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

import pelton

SUITE = Path(__file__).with_name("cpython_suite.py")
TESTS_MIN = 80


@pytest.mark.slow
def test_event_loop_suite() -> None:
    if importlib.util.find_spec("test.test_asyncio") is None:
        pytest.skip("this Python has no test suite (Debian: libpython3-testsuite)")
    package = str(Path(pelton.__file__).parents[1])
    path = os.pathsep.join(filter(None, (package, os.environ.get("PYTHONPATH"))))
    result = subprocess.run(
        [sys.executable, "-W", "ignore", str(SUITE)],
        check=False,
        capture_output=True,
        text=True,
        timeout=55,
        env=os.environ | {"PYTHONPATH": path},
    )
    assert result.returncode == 0, result.stderr
    ran = re.search(r"Ran (\d+) tests", result.stderr)
    assert ran is not None
    assert int(ran[1]) >= TESTS_MIN
