"""The recorder process: carry a log from shared memory to the disk.

It is not the controller, so a disk that is slow, full or gone delays and breaks nothing but the
log; and it outlives a controller that was killed, so the last records before that are written too.
It ends when the controller closes the log or is gone.
"""

import json
import os
import sys
import time

from simreal.deploy.drain import Recorder
from simreal.deploy.ring import Ring

_WAIT_S = 0.02


def main(argument: str) -> int:
    """Be the recorder process.

    Args:
        argument: The task, as JSON.
    """
    task = json.loads(argument)
    # Told, not asked for: the controller may be gone before this process has begun.
    parent = task["parent"]
    ring = Ring(fd=task["ring"])
    recorder = Recorder(ring, task["file"], task["max_bytes"])
    while True:
        over = ring.get("closed") or os.getppid() != parent
        recorder.drain()
        if over:
            return 0
        time.sleep(_WAIT_S)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
