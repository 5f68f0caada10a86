"""Transfer methods: from a source, and perhaps data from the target, to a policy. One file each."""

from simreal.transfer.base import TransferMethod, TransferProblem, TransferResult
from simreal.transfer.fine_tune import FineTune
from simreal.transfer.frozen_extractor import FrozenExtractor
from simreal.transfer.scratch import Scratch
from simreal.transfer.zero_shot import ZeroShot

__all__ = [
    "FineTune",
    "FrozenExtractor",
    "Scratch",
    "TransferMethod",
    "TransferProblem",
    "TransferResult",
    "ZeroShot",
]
