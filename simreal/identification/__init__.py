"""System identification: from logs of a robot to the dynamics of a domain, with their uncertainty.

The parameters a domain gives a robot are a belief. `identify` starts from it, simulates short
stretches of the logs from their measured state under the logged commands, and moves the parameters
until the simulation ends where the robot did; what the logs do not show stays as it was believed.
"""

from simreal.identification.estimate import Estimate, PredictionError, Trace
from simreal.identification.fit import FitSettings, identify
from simreal.identification.robot_log import LogColumns, RobotLog, read_log
from simreal.identification.unknowns import Unknown, Unknowns

__all__ = [
    "Estimate",
    "FitSettings",
    "LogColumns",
    "PredictionError",
    "RobotLog",
    "Trace",
    "Unknown",
    "Unknowns",
    "identify",
    "read_log",
]
