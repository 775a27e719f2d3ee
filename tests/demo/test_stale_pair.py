"""A state file that outlived its pair names a process id that belongs to somebody else by now."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

from cloister.demo import pair


def test_down_does_not_kill_who_happens_to_have_the_old_process_id(tmp_path: Path) -> None:
    state = pair.state_file(tmp_path)
    state.parent.mkdir(parents=True)
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"]) as innocent:
        try:
            state.write_text(json.dumps({"pid": innocent.pid, "broker": "http://127.0.0.1:9", "agent": ""}))
            pair.down(tmp_path)
            assert innocent.poll() is None
            assert not state.exists()
        finally:
            innocent.kill()
