"""``python -m cloister.demo up|down|build|reset|status|supervise``: the embedded pair, for shells and processes."""

from __future__ import annotations

import json
import sys

from cloister.demo import pair
from cloister.errors import CloisterError, missing_extra
from cloister.home import cloister_home


def main(arguments: list[str]) -> int:
    """Run one command; print JSON on success, the error's words otherwise."""
    home = cloister_home()
    command = arguments[0] if len(arguments) == 1 else ""
    try:
        if command == "up":
            print(json.dumps(pair.up(home)))
        elif command == "down":
            pair.down(home)
        elif command in ("build", "reset"):
            from cloister.demo import parties  # noqa: PLC0415 (loads engines the other commands need not load)

            if command == "reset":
                pair.down(home)
            (parties.reset if command == "reset" else parties.build_world)(home)
        elif command == "status":
            print(json.dumps(pair.running(home)))
        elif command == "supervise":
            return pair.supervise(home)
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
