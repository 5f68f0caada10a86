"""`simreal demo`: the whole way from a shipped source policy to a controller, in a few minutes."""

import shlex
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch
from rich.table import Table

from simreal.apps.evaluate import success_text
from simreal.apps.output import CONSOLE, ProgressLine, run_folder, save_config, say
from simreal.apps.policies import find_policy
from simreal.apps.transfer import measure_result, network_of, save_result
from simreal.config import Composed, compose
from simreal.core.params import catalogue
from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.deploy import Controller, load_bundle
from simreal.domains import Domain, Randomization, SimVecEnv
from simreal.domains.simulated_robot import SimulatedRobot
from simreal.evaluation.comparison import compare_curves
from simreal.evaluation.curves import target_curve
from simreal.evaluation.episodes import EpisodeRecord
from simreal.evaluation.matrix import EvaluationResult
from simreal.evaluation.measure import measure
from simreal.evaluation.provenance import collect_provenance
from simreal.evaluation.report import (
    Conclusion,
    RandomizedParameter,
    ReportData,
    TransferRow,
    Video,
    write_report,
)
from simreal.evaluation.transfer_metrics import Curve
from simreal.evaluation.verdict import verdict
from simreal.evaluation.video import record_episode, write_video
from simreal.learning.algorithms import AlgorithmSettings
from simreal.learning.artifact import act_of, load_policy
from simreal.transfer import TransferMethod, TransferProblem, TransferResult

_THRESHOLD = 0.9
_NUM_DRAWS = 256

State = dict[str, torch.Tensor]

_LABELS = {"frozen_extractor": "frozen extractor", "fine_tune": "fine-tuned"}


@dataclass(frozen=True, kw_only=True)
class DemoSettings:
    """Hold the settings of `simreal demo` that belong to no group.

    Attributes:
        policy: Source policy, pretrained without randomization.
        randomized_policy: Source policy, pretrained with uniform domain randomization.
        seed: Seed of the transfers.
        num_test_episodes: Test episodes per policy and domain.
        output: Folder of the results; chosen if None.
    """

    policy: str
    randomized_policy: str
    seed: int = 0
    num_test_episodes: int = 100
    output: str | None = None


@dataclass(frozen=True, slots=True)
class _Row:
    """Hold one row of the table while it is measured."""

    name: str
    records: list[EpisodeRecord]
    target_steps: int
    result: TransferResult | None = None
    before: Sequence[EpisodeRecord] = ()


def main(args: list[str]) -> int:
    """Run the verb.

    Args:
        args: Overrides.

    Returns:
        The exit code.
    """
    begun = time.monotonic()
    composed = compose("demo", args)
    settings = composed.settings(DemoSettings)
    folder = run_folder(settings.output, "demo", settings.seed)
    save_config(folder, composed)
    demo = _Demo(composed, settings, folder)
    try:
        demo.run()
    finally:
        say(f"seconds    {time.monotonic() - begun:.0f}")
    return 0


class _Demo:
    """Run the steps and keep what they share."""

    def __init__(self, composed: Composed, settings: DemoSettings, folder: Path) -> None:
        self.settings, self.folder = settings, folder
        self.robot: Robot = composed.build("robot", Robot)
        self.task: Task = composed.build("task", Task)
        self.source: Domain = composed.build("source", Domain)
        self.target: Domain = composed.build("target", Domain)
        self.randomization: Randomization = composed.build("randomization", Randomization)
        self.algo: AlgorithmSettings = composed.build("algo", AlgorithmSettings)
        self.methods: dict[str, TransferMethod] = {
            name: composed.build(name, TransferMethod)
            for name in ("frozen_extractor", "fine_tune", "scratch")
        }
        self.plain = find_policy(settings.policy, self.task.name)
        self.randomized = find_policy(settings.randomized_policy, self.task.name)

    def run(self) -> None:
        """Measure, transfer, report, deploy."""
        say(f"1. Measure the shipped policies in {self.source.name} and in {self.target.name}")
        rows = self._zero_shot()
        say("2. Transfer the randomized one with little target data, beside scratch with as much")
        _, state = load_policy(self.randomized)
        for name, method in self.methods.items():
            rows.append(self._transfer(name, method, state))
        self._print(rows)
        best = max(
            (r for r in rows if r.result is not None),
            key=lambda r: sum(bool(x.success) for x in r.records),
        )
        bundle = self._bundle(best)
        video = self._video(best)
        self._report(rows, video)
        say("3. Run that bundle through the numpy controller against the simulated robot")
        self._control(bundle)
        self._paths(bundle, video)

    def _zero_shot(self) -> list[_Row]:
        rows = []
        for name, path in (("plain", self.plain), ("randomized", self.randomized)):
            act = act_of(load_bundle(path))
            for domain in (self.source, self.target):
                role = "source" if domain is self.source else "zero-shot"
                records = measure(
                    act,
                    self.robot,
                    self.task,
                    domain,
                    policy=f"{role}, {name}",
                    seed=self.settings.seed,
                    num_episodes=self.settings.num_test_episodes,
                )
                rows.append(_Row(f"{role}, {name}", records, 0))
        return rows

    def _transfer(self, name: str, method: TransferMethod, state: State) -> _Row:
        label = _LABELS.get(name, name)
        with ProgressLine(label) as line:
            problem = self._problem(name, state, line)
            result = method.run(problem)
        number = self.settings.num_test_episodes
        records = measure_result(result, problem, number, name=label)
        before = measure_result(result, problem, number, name=label, initial=True)
        return _Row(label, records, result.target_steps, result, before)

    def _problem(
        self, name: str, state: State | None, line: ProgressLine | None
    ) -> TransferProblem:
        return TransferProblem(
            robot=self.robot,
            task=self.task,
            target=self.target,
            settings=self.algo,
            source_state=state,
            seed=self.settings.seed,
            folder=self.folder / name,
            sink=line,
        )

    def _print(self, rows: list[_Row]) -> None:
        table = Table(
            box=None,
            pad_edge=False,
            title="one seed; steps are on the target",
            title_justify="left",
        )
        table.add_column("policy", no_wrap=True)
        table.add_column("in", no_wrap=True)
        for column in ("steps", "success [95 %]", "return"):
            table.add_column(column, justify="right", no_wrap=True)
        for row, cell in zip(rows, self._result(rows).cells, strict=True):
            table.add_row(
                row.name,
                cell.domain,
                f"{row.target_steps:,}",
                success_text(cell),
                f"{cell.returns.estimate:.1f}",
            )
        CONSOLE.print(table)

    def _result(self, rows: list[_Row]) -> EvaluationResult:
        records = tuple(r for row in rows for r in row.records)
        return EvaluationResult(records, collect_provenance([self.settings.seed]))

    def _bundle(self, best: _Row) -> Path:
        if best.result is None:  # pragma: no cover - `best` is chosen among the transferred ones
            raise TypeError("a transferred policy is needed")
        path = self.folder / "policy"
        parent = load_bundle(self.randomized).sha256
        problem = self._problem("", None, None)
        save_result(path, problem, best.result, best.records, parent, before=list(best.before))
        return path

    def _video(self, best: _Row) -> Path | None:
        if best.result is None:
            return None
        recording = record_episode(network_of(best.result), self.robot, self.task, self.target)
        return write_video(
            self.folder / "target.mp4", self.robot, recording, self.task.control_period_s
        )

    def _report(self, rows: list[_Row], video: Path | None) -> None:
        result = self._result(rows)
        result.to_json(self.folder / "evaluation.json")
        cells = dict(zip((row.name for row in rows), result.cells, strict=True))
        judged = verdict(
            cells["fine-tuned"].seed_success_rates or (),
            cells["scratch"].seed_success_rates or (),
            paired=False,
        )
        matrix = [
            replace(cell, policy=row.name.split(", ")[1])
            for row, cell in zip(rows, result.cells, strict=True)
            if row.result is None
        ]
        success = {row.name: curve for row in rows if (curve := _curve(row, _success)) is not None}
        returns = {row.name: curve for row in rows if (curve := _curve(row, _return)) is not None}
        write_report(
            ReportData(
                title=f"{self.task.name}: {self.source.name} to {self.target.name}",
                summary="One seed, for a first look; the README has the five-seed table.",
                conclusion=Conclusion(judged, "fine-tuning against scratch with as many steps"),
                rows=[
                    TransferRow(row.name, cell, row.target_steps)
                    for row, cell in zip(rows, result.cells, strict=True)
                ],
                matrix=matrix,
                success_curves=success,
                return_curves=returns,
                threshold=_THRESHOLD,
                comparisons=[
                    compare_curves(name, curve, success["scratch"], _THRESHOLD, paired=False)
                    for name, curve in success.items()
                    if name != "scratch"
                ],
                randomization=self._randomized_parameters(),
                videos=[Video("The transferred policy on the target", video)] if video else [],
                provenance=result.provenance,
            ),
            self.folder / "report.html",
        )

    def _randomized_parameters(self) -> list[RandomizedParameter]:
        specs, fixed = catalogue(self.robot), self.source.fixed(self.robot)
        draws = self._draws()
        found = []
        for name, rule in self.randomization.resolve(specs).items():
            value = fixed.get(name, specs[name].nominal)
            nominal = value if isinstance(value, float) else value[-1]
            unit, drawn = specs[name].unit, draws[name][..., -1]
            found.append(RandomizedParameter(name, unit, str(rule), rule.when, nominal, drawn))
        return found

    def _draws(self) -> dict[str, np.ndarray]:
        """Return what the engine of the randomized source was given in some episodes, by name."""
        domain = replace(self.source, randomization=self.randomization)
        env = SimVecEnv(self.robot, self.task, domain, _NUM_DRAWS, seed=self.settings.seed)
        try:
            env.reset()
            return {name: np.array(values) for name, values in env.params.items()}
        finally:
            env.close()

    def _control(self, path: Path) -> None:
        robot = SimulatedRobot(self.robot, self.task, self.target, seed=self.settings.seed)
        with robot:
            controller = Controller(
                load_bundle(path),
                robot,
                clock=robot.clock,
                sleep=robot.sleep,
                without_watchdog=True,
            )
            controller.arm()
            report = controller.run(self.task.episode_s)
            held = robot.held_success(self.task.success_window_s)
        state = "stayed up" if held else "did not stay up"
        say(
            f"controller {report.cycles} cycles at {1 / self.task.control_period_s:.0f} Hz, "
            f"{report.overruns} overruns, fault: {report.fault or 'none'}; the robot {state}"
        )

    def _paths(self, bundle: Path, video: Path | None) -> None:
        say(f"bundle     {bundle}")
        say(f"tensorboard --logdir {shlex.quote(str(self.folder))}")
        say(f"report     {self.folder / 'report.html'}")
        if video is not None:
            say(f"video      {video}")


def _success(records: Sequence[EpisodeRecord]) -> float:
    return float(np.mean([bool(r.success) for r in records]))


def _return(records: Sequence[EpisodeRecord]) -> float:
    return float(np.mean([r.episode_return for r in records]))


def _curve(row: _Row, score: Callable[[Sequence[EpisodeRecord]], float]) -> Curve | None:
    """Return how a row of the table learned on the target, or None if it did not."""
    if row.result is None:
        return None
    inner = [
        (p.num_steps + p.eval_steps, p.success if score is _success else p.return_)
        for p in row.result.curve
    ]
    return target_curve([score(row.before)], [inner], [(row.target_steps, score(row.records))])
