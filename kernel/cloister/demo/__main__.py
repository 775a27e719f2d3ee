"""``python -m cloister.demo up|down|build|reset|status|supervise [CASE]``: the embedded pair, for processes."""

from __future__ import annotations

import json
import sys

from cloister.demo import pair
from cloister.errors import CloisterError, missing_extra
from cloister.home import cloister_home


def main(arguments: list[str]) -> int:
    """Run one command; print JSON on success, the error's words otherwise."""
    home = cloister_home()
    command, case = (*arguments, "")[:2] if 1 <= len(arguments) <= 2 else ("", "")
    try:
        if command == "up":
            print(json.dumps(pair.up(home, case)))
        elif command == "down":
            pair.down(home, case)
        elif command == "reset":
            pair.reset(home, case)
        elif command == "build":
            from cloister.demo import cases, parties  # noqa: PLC0415 (loads engines the other commands need not load)

            scene = cases.scene(case) if case else parties.DEMO
            parties.build_world(home, scene=scene)
        elif command == "status":
            print(json.dumps(pair.running(home, case)))
        elif command == "supervise":
            return pair.supervise(home, case)
        else:
            print(__doc__, file=sys.stderr)
            return 2
    except CloisterError as error:
        print(error, file=sys.stderr)
        return 1
    except ModuleNotFoundError as error:
        if error.name is None or error.name.startswith("cloister"):
            raise
        print(missing_extra(error.name), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
