"""`simreal identify`: from logs of a robot to a target domain that behaves as it does."""

import json
import shlex
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from omegaconf import OmegaConf
from rich.box import SIMPLE_HEAD
from rich.table import Table

from simreal.apps.output import CONSOLE, run_folder, save_config, say
from simreal.catalog import Catalog
from simreal.config import Composed, compose
from simreal.core.params import flatten
from simreal.core.robot import Robot
from simreal.domains import Domain
from simreal.errors import ConfigError
from simreal.evaluation.atomic_file import write_atomic
from simreal.evaluation.figures import prediction_chart, to_png
from simreal.evaluation.provenance import collect_provenance
from simreal.identification import (
    Estimate,
    FitSettings,
    LogColumns,
    RobotLog,
    Unknowns,
    identify,
    read_log,
)
from simreal.identification.unknowns import COMMAND_DELAY

_DIGITS, _ZERO = 6, 1e-12
_DEFAULT_ROBOT = "double_pendulum"
_ZEROED = "own zeros"
_UNSEEN = 0.1  # share of the doubt that logs must remove to count as having shown something


@dataclass(frozen=True, kw_only=True)
class IdentifySettings:
    """Hold the settings of `simreal identify` that belong to no group.

    Attributes:
        files: Logs that the parameters are fitted to; one or a list.
        held_out: Logs that the result is judged by; one or a list.
        name: What the new target is called.
        num_targets: How many of the samples (`fit.samples`) become targets of their own.
        fit: How it is done.
        output: Folder of the results; chosen if None.
    """

    fit: FitSettings
    files: str | list[str] | None = None
    held_out: str | list[str] | None = None
    name: str = "identified"
    num_targets: int = 8
    output: str | None = None

    def __post_init__(self) -> None:
        """Check the name, which becomes that of a file.

        Raises:
            ConfigError: It is none.
        """
        if not self.name.isidentifier():
            raise ConfigError(
                f"name: got '{self.name}'; letters, digits and underscores are needed, since it "
                "becomes an option of target="
            )
        if self.num_targets < 0:
            raise ConfigError(f"num_targets: got {self.num_targets}; at least 0 is needed")


def main(args: list[str]) -> int:
    """Run the verb.

    Args:
        args: Overrides, for instance `robot=double_pendulum files=run.csv`.

    Returns:
        The exit code.
    """
    composed = compose("identify", args)
    settings = composed.settings(IdentifySettings)
    robot: Robot = composed.build("robot", Robot)
    target: Domain = composed.build("target", Domain)
    columns: LogColumns = composed.build("log", LogColumns)
    unknowns: Unknowns = composed.build("unknowns", Unknowns)
    logs = _logs("files", settings.files, columns, robot)
    if not logs:
        raise ConfigError("files: got none; name at least one log, for instance files=run.csv")
    held_out = _logs("held_out", settings.held_out, columns, robot)
    _check_apart(settings)
    _check_name(settings.name)
    folder = run_folder(settings.output, f"{robot.name}-identify", settings.fit.seed)
    save_config(folder, composed)
    seconds = sum(float(log.time_s[-1] - log.time_s[0]) for log in logs)
    say(f"{len(logs)} logs of {seconds:.0f} s in all, {len(held_out)} held out; this takes minutes")
    try:
        estimate = identify(robot, target, unknowns, logs, held_out, settings.fit)
    except BaseException:
        shutil.rmtree(folder)  # which is new, and holds no result
        raise
    _write(folder, composed, settings, robot, estimate)
    write_atomic(folder / "prediction.png", to_png(_figure(estimate, robot)))
    _print(estimate, [joint.name for joint in robot.movable])
    conf = folder / "conf"
    say(f"results    {folder / 'identification.json'}")
    say(f"picture    {folder / 'prediction.png'}")
    say(f"target     {conf / 'target' / f'{settings.name}.yaml'}")
    path = shlex.quote(f"hydra.searchpath=[{conf.resolve().as_uri()}]")
    # `task=` decides on the robot; what the default task has needs no word.
    task = "" if robot.name == _DEFAULT_ROBOT else "task=TASK "
    if not _predicts_better(estimate):
        say(
            "NOTHING LEARNED: what was identified predicts no better than what was believed, or "
            "than a robot that stays where it is; check columns, units (rad, s, Nm) and signs"
        )
        return 0
    drawn = f",{settings.name}_drawn -m" if estimate.num_samples else ""
    say(f"next       simreal evaluate {task}{path} target={settings.name}{drawn}")
    return 0


def _check_apart(settings: IdentifySettings) -> None:
    """Refuse a log that is fitted to and held out, or named twice in two ways."""
    paths = [Path(name).resolve() for name in (*_names(settings.files), *_names(settings.held_out))]
    for path in paths:
        if paths.count(path) > 1:
            raise ConfigError(
                f"files, held_out: got '{path}' twice; a log is fitted to or held out, once"
            )


def _names(files: str | list[str] | None) -> list[str]:
    return [files] if isinstance(files, str) else files or []


def _predicts_better(estimate: Estimate) -> bool:
    """Return whether the fit was worth it, at the farthest horizon of logs that it has not seen."""
    errors = [error for error in estimate.errors if error.held_out] or estimate.errors
    found, believed, unmoved = (
        np.sqrt(np.mean([getattr(error, model)[-1] ** 2 for error in errors], axis=0))
        for model in ("zeroed", "believed", "unmoved")
    )
    return bool((found <= believed).any() and (found < unmoved).any())


def _check_name(name: str) -> None:
    taken = Catalog.default().options("target")
    if name in taken:
        raise ConfigError(
            f"name: got '{name}', which is a target already; choose another than "
            f"{', '.join(sorted(taken))}"
        )


def _logs(
    key: str, files: str | list[str] | None, columns: LogColumns, robot: Robot
) -> list[RobotLog]:
    names = _names(files)
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"{key}: got '{name}' twice; name each log once")
    return [read_log(Path(name), columns, robot) for name in names]


def _write(
    folder: Path,
    composed: Composed,
    settings: IdentifySettings,
    robot: Robot,
    estimate: Estimate,
) -> None:
    """Write the numbers, and target domains that can be chosen."""
    write_atomic(
        folder / "identification.json", (json.dumps(_content(estimate), indent=1) + "\n").encode()
    )
    targets = folder / "conf" / "target"
    targets.mkdir(parents=True)
    given: dict[str, Any] = composed.values["target"]
    name = settings.name
    logs = ", ".join(error.log for error in estimate.errors if not error.held_out)
    head = f"identified from {logs}, on the belief of {given['name']}"
    _write_target(targets, name, f"# {name}: {head}", given, estimate.values, estimate.noise)
    if estimate.num_samples:
        title = f"# {name}, in every episode another of {estimate.num_samples} drawn from what the "
        joint = _joint(given, estimate.joint(robot))
        title = f"{title}logs leave open: {head}"
        _write_target(targets, f"{name}_drawn", title, joint, estimate.values, estimate.noise)
    for i in range(min(settings.num_targets, estimate.num_samples)):
        drawn = {key: values[i] for key, values in estimate.samples.items()}
        title = f"# {name}, drawn from what the logs leave open ({i + 1}): {head}"
        _write_target(targets, f"{name}_{i + 1}", title, given, drawn, estimate.noise)


def _write_target(
    folder: Path,
    name: str,
    title: str,
    given: Mapping[str, Any],
    values: Mapping[str, np.ndarray],
    noise: np.ndarray,
) -> None:
    dynamics: dict[str, Any] = dict(flatten(given["dynamics"]))
    dynamics |= {key: _plain(value) for key, value in values.items() if key != COMMAND_DELAY}
    content = {
        **given,
        "name": name,
        "dynamics": dynamics,
        "sensing": {**given["sensing"], "joint_pos_noise": _plain(np.mean(noise))},
    }
    if COMMAND_DELAY in values:
        delay = _plain(values[COMMAND_DELAY])
        content["actuation"] = {**given["actuation"], COMMAND_DELAY: delay}
    text = f"{title}\n{OmegaConf.to_yaml(OmegaConf.create(content))}"
    write_atomic(folder / f"{name}.yaml", text.encode())


def _joint(given: Mapping[str, Any], samples: Mapping[str, np.ndarray]) -> dict[str, Any]:
    """Return a target that draws, in every episode, one of the samples."""
    joint = {
        "_target_": "simreal.domains.JointSamples",
        "when": "reset",
        "values": {key: [_plain(v) for v in rows] for key, rows in samples.items()},
    }
    own = given.get("randomization") or {"_target_": "simreal.domains.Randomization"}
    return {**given, "randomization": {**own, "joint": joint}}


def _content(estimate: Estimate) -> dict[str, Any]:
    """Return what the results file holds."""
    return {
        "unknowns": estimate.rows(),
        "covariance_of_x": estimate.covariance.tolist(),
        "num_windows": estimate.num_windows,
        "costs": [start.cost for start in estimate.starts],
        "at_bounds": list(estimate.at_bounds),
        "joint_pos_noise": estimate.noise.tolist(),
        "errors": [
            {
                "log": error.log,
                "held_out": error.held_out,
                "horizons_s": list(error.horizons_s),
                "zeros": error.zeros.tolist(),
                "believed": error.believed.tolist(),
                "identified": error.identified.tolist(),
                "zeroed": error.zeroed.tolist(),
                "unmoved": error.unmoved.tolist(),
            }
            for error in estimate.errors
        ],
        "provenance": collect_provenance([]).to_dict(),
    }


def _print(estimate: Estimate, joints: Sequence[str]) -> None:
    """Print what was found, and how well it predicts."""
    CONSOLE.print(_values_table(estimate))
    CONSOLE.print(_errors_table(estimate, joints))
    if estimate.offset_std.any():
        sizes = ", ".join(
            f"{joint} {size:.2g}" for joint, size in zip(joints, estimate.offset_std, strict=True)
        )
        say(
            f"encoders read {sizes} [rad or m] where joints are at 0 (root mean square of the "
            f"logs); with its own zeros a log is predicted as in the lines '{_ZEROED}'"
        )
    if estimate.at_bounds:
        say(
            f"at the edge of what may be: {', '.join(estimate.at_bounds)}; there is none of it, or "
            "it stands in for what the model lacks"
        )
    if estimate.agreeing < len(estimate.starts):
        say(
            f"only {estimate.agreeing} of {len(estimate.starts)} fits from different beginnings "
            "found the best one; more logs, or fit.starts, would tell whether it is"
        )


def _figure(estimate: Estimate, robot: Robot) -> Figure:
    trace = estimate.trace
    panels = [f"{j.name} [{'m' if j.kind == 'prismatic' else 'rad'}]" for j in robot.movable]
    predicted = {"believed": trace.believed, "identified": trace.identified}
    if estimate.offset_std.any():
        predicted = {"believed": trace.believed, f"identified, {_ZEROED}": trace.zeroed}
    seen = "held out" if trace.held_out else "fitted to"
    ahead = trace.time_s[0, -1] - trace.time_s[0, 0]
    title = f"{trace.log} ({seen}), predicted {ahead:.1f} s ahead"
    return prediction_chart(trace.time_s, trace.measured, predicted, panels, title)


def _values_table(estimate: Estimate) -> Table:
    table = Table(
        title=f"identified from {estimate.num_windows} windows",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    for title in ("parameter", "unit", "believed", "identified", "+-", "learned"):
        words = title in ("parameter", "unit")
        table.add_column(title, justify="left" if words else "right", no_wrap=True)
    for row in estimate.rows():
        table.add_row(
            row["name"].replace("[", r"\["),
            row["unit"],
            f"{row['believed']:.4g}",
            f"{_plain(row['value']):.4g}",
            f"{row['std']:.2g}",
            f"{row['learned']:.0%}" if row["learned"] >= _UNSEEN else "not seen",
        )
    return table


def _errors_table(estimate: Estimate, joints: Sequence[str]) -> Table:
    """Lay out prediction errors at every horizon, over logs of a kind and joint."""
    horizons = estimate.errors[0].horizons_s
    table = Table(
        title=r"prediction error of joint positions \[rad or m], root mean square after",
        title_justify="left",
        box=SIMPLE_HEAD,
        pad_edge=False,
    )
    table.add_column("logs")
    table.add_column("joint")
    table.add_column("model")
    for horizon in horizons:
        table.add_column(f"{horizon:g} s", justify="right", no_wrap=True)
    zeroed = ("zeroed",) if estimate.offset_std.any() else ()
    models = ("unmoved", "believed", "identified", *zeroed)
    for held, label in ((False, "fitted"), (True, "held out")):
        errors = [error for error in estimate.errors if error.held_out == held]
        for j, joint in enumerate(joints if errors else ()):
            for model in models:
                parts = [getattr(error, model)[:, j] ** 2 for error in errors]
                size = np.sqrt(np.mean(parts, axis=0))
                name = _ZEROED if model == "zeroed" else model
                table.add_row(label, joint, name, *(f"{value:.4f}" for value in size))
    return table


def _plain(value: Any) -> float | list[float]:
    """Return numbers as a file holds them, to six digits; what rounding leaves of 0 is 0."""
    rounded = [
        float(f"{number:.{_DIGITS}g}") if abs(number) > _ZERO else 0.0
        for number in np.atleast_1d(value)
    ]
    return rounded[0] if np.ndim(value) == 0 else rounded
