"""What differs between the processes of one training, in the checkpoint that they share."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import numpy as np

from simreal.learning.checkpoint import Checkpoint
from simreal.learning.processes import Processes

# Parameters and optimizer are the same in every process; the rest is each one's own.
_SHARED = ("policy.", "optimizer.")


def apart(
    processes: Processes, tensors: Mapping[str, np.ndarray], meta: Mapping[str, Any]
) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """Return the first process's state, and beside it what the others have of their own.

    Args:
        processes: Who trains; all of them call this.
        tensors: State of this process, name to array.
        meta: Its JSON-able facts.
    """
    own = {k: v for k, v in tensors.items() if not k.startswith(_SHARED)}
    everybody = processes.gather((own, dict(meta)))
    together, facts = dict(tensors), dict(meta)
    for rank, (arrays, _) in enumerate(everybody[1:], start=1):
        together |= {f"process{rank}.{name}": value for name, value in arrays.items()}
    if processes.size > 1:
        facts["processes"] = [content for _, content in everybody]
    return together, facts


def part_of_process(processes: Processes, found: Checkpoint | None) -> Checkpoint | None:
    """Return a checkpoint as this process continues from it.

    Args:
        processes: Who trains.
        found: What `apart` gave, as it was read; None if there is none.
    """
    if found is None or processes.first:
        return found
    begin = f"process{processes.rank}."
    own = {k.removeprefix(begin): v for k, v in found.tensors.items() if k.startswith(begin)}
    facts = found.meta["processes"][processes.rank]
    return replace(found, tensors=found.tensors | own, meta=found.meta | facts)
