"""Errors that a user can cause, each with what was seen, what is allowed and what to do next.

One module, so that the command line can turn every one of them into a single line and an exit code,
and so that a caller can catch `SimrealError` without catching programming mistakes.
"""

import difflib
from collections.abc import Iterable


class SimrealError(Exception):
    """Be the base of every error that simreal raises on purpose.

    Attributes:
        exit_code: What the command line exits with when this error reaches it.
    """

    exit_code = 1


class ConfigError(SimrealError):
    """Report a configuration key, value, type or group that cannot be used."""

    exit_code = 2


class UnknownNameError(ConfigError):
    """Report a name that is not among the known ones, with the nearest known name."""


class ParameterError(ConfigError):
    """Report a dynamics parameter that is unknown, out of bounds, or unsupported by an engine."""


class RobotError(ConfigError):
    """Report a robot description that is inconsistent or that an engine cannot represent."""


class OutputError(SimrealError):
    """Report a place that cannot be written to."""


class EngineError(SimrealError):
    """Report a failure inside a physics engine."""


class DependencyError(SimrealError):
    """Report an optional package that is missing, with the command that installs it."""


class CheckpointError(SimrealError):
    """Report a checkpoint that is missing, half-written, damaged or of another run."""


class BundleError(SimrealError):
    """Report a policy bundle that must not be loaded."""


class ArmError(SimrealError):
    """Report why a controller refuses to arm on this robot."""


class SignalError(SimrealError):
    """Report raw signals that a deployed policy cannot be given."""


class TransportError(SimrealError):
    """Report that controller and robot cannot reach or understand each other."""


class EvaluationError(SimrealError):
    """Report measurements that cannot be compared or aggregated."""


def nearest(name: str, known: Iterable[str]) -> str:
    """Return a hint with the nearest known name, or an empty string.

    Args:
        name: What was seen.
        known: The names that are allowed.

    Returns:
        `" Did you mean 'x'?"` or `""`.
    """
    close = difflib.get_close_matches(str(name), [str(k) for k in known], n=1, cutoff=0.5)
    return f" Did you mean '{close[0]}'?" if close else ""


def unknown_name(kind: str, name: str, known: Iterable[str]) -> UnknownNameError:
    """Build the error for an unknown name of some kind.

    Args:
        kind: What is named, for instance `"engine"`.
        name: What was seen.
        known: The names that are allowed.

    Returns:
        The error, to be raised by the caller.
    """
    names = sorted(str(k) for k in known)
    listing = ", ".join(names) if names else "none"
    return UnknownNameError(f"unknown {kind} '{name}'.{nearest(name, names)} Known: {listing}.")
