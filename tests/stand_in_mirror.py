"""A mirror that behaves as its run's `project` says, and writes down what it was told.

`tests/jobs/test_wandb_run.py` shows that the real one takes the same words.
"""

import os
import sys
import time

from schemas.mirror import MirrorAnswer, MirrorStart


def main():
    start = MirrorStart.model_validate_json(sys.stdin.readline())
    match start.project:
        case "failing":
            print(MirrorAnswer(problem="No API key.").model_dump_json(), flush=True)
            return
        case "silent":
            return
        case "hanging":
            (start.directory / "pid").write_text(str(os.getpid()))
            time.sleep(3600)
    print(MirrorAnswer(url="https://wandb.example/run").model_dump_json(), flush=True)
    (start.directory / "lines").write_text(start.model_dump_json() + "\n" + sys.stdin.read())


if __name__ == "__main__":
    main()
