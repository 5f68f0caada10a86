"""`simreal demo`: the whole way from a shipped source policy to a controller, in a few minutes."""

import time
from dataclasses import dataclass
from pathlib import Path

import torch
from rich.table import Table

from simreal.apps.evaluate import success_text
from simreal.apps.output import CONSOLE, ProgressLine, run_folder, save_config, say
from simreal.apps.policies import find_policy
from simreal.apps.transfer import measure_result, network_of, save_result
from simreal.config import Composed, compose
from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.deploy import Controller, load_bundle
from simreal.domains import Domain
from simreal.domains.simulated_robot import SimulatedRobot
from simreal.evaluation.episodes import EpisodeRecord
from simreal.evaluation.matrix import EvaluationResult
from simreal.evaluation.measure import measure
from simreal.evaluation.provenance import collect_provenance
from simreal.evaluation.report import ReportData, TransferRow, Video, write_report
from simreal.evaluation.transfer_metrics import Curve
from simreal.evaluation.video import record_episode, write_video
from simreal.learning.algorithms import AlgorithmSettings
from simreal.learning.artifact import act_of, load_policy
from simreal.transfer import TransferMethod, TransferProblem, TransferResult


State = dict[str, torch.Tensor]


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
        self.algo: AlgorithmSettings = composed.build("algo", AlgorithmSettings)
        self.methods: dict[str, TransferMethod] = {
            name: composed.build(name, TransferMethod)
            for name in ("frozen_extractor", "fine_tune", "scratch")
        }
        self.plain = find_policy(settings.policy, self.task.name)
        self.randomized = find_policy(settings.randomized_policy, self.task.name)

    def run(self) -> None:
        """Measure, transfer, report, deploy."""
        say(f"1. Measure the shipped policies in the source domain and, zero-shot, in {self.target.name}.")
        rows = self._zero_shot()
        say("2. Transfer the randomized one with little target data, and train from scratch with as much.")
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
        say("3. Run that bundle through the numpy controller against the simulated robot.")
        self._control(bundle)
        self._paths(bundle, video)

    def _zero_shot(self) -> list[_Row]:
        rows = []
        for name, path, domain in (
            ("source, in the source domain", self.plain, self.source),
            ("zero-shot", self.plain, self.target),
            ("zero-shot, randomized source", self.randomized, self.target),
        ):
            bundle = load_bundle(path)
            records = measure(
                act_of(bundle),
                self.robot,
                self.task,
                domain,
                policy=name,
                seed=self.settings.seed,
                num_episodes=self.settings.num_test_episodes,
            )
            rows.append(_Row(name, records, 0))
        return rows

    def _transfer(self, name: str, method: TransferMethod, state: State) -> _Row:
        label = {"frozen_extractor": "frozen extractor", "fine_tune": "fine-tuned"}.get(name, name)
        with ProgressLine(label) as line:
            problem = self._problem(name, state, line)
            result = method.run(problem)
        records = measure_result(result, problem, self.settings.num_test_episodes, name=label)
        return _Row(label, records, result.target_steps, result)

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
        table = Table(box=None, pad_edge=False, title="One seed; the five-seed table is in the README")
        for column, justify in (("policy", "left"), ("domain", "left"), ("target steps", "right")):
            table.add_column(column, justify=justify)  # type: ignore[arg-type]
        table.add_column("success [95 %]", justify="right")
        table.add_column("return", justify="right")
        cells = EvaluationResult(
            tuple(r for row in rows for r in row.records), collect_provenance([0])
        ).cells
        for row, cell in zip(rows, cells, strict=True):
            steps = f"{row.target_steps:,}"
            table.add_row(
                row.name, cell.domain, steps, success_text(cell), f"{cell.returns.estimate:.1f}"
            )
        CONSOLE.print(table)

    def _bundle(self, best: _Row) -> Path:
        if best.result is None:  # pragma: no cover - `best` is chosen among the transferred ones
            raise TypeError("a transferred policy is needed")
        path = self.folder / "policy"
        parent = load_bundle(self.randomized).sha256
        save_result(path, self._problem("", None, None), best.result, best.records, parent)
        return path

    def _video(self, best: _Row) -> Path | None:
        if best.result is None:
            return None
        recording = record_episode(network_of(best.result), self.robot, self.task, self.target)
        return write_video(
            self.folder / "target.mp4", self.robot, recording, self.task.control_period_s
        )

    def _report(self, rows: list[_Row], video: Path | None) -> None:
        provenance = collect_provenance([self.settings.seed])
        result = EvaluationResult(tuple(r for row in rows for r in row.records), provenance)
        curves = {
            row.name: Curve(
                steps=[p.num_steps + p.eval_steps for p in row.result.curve],  # type: ignore[arg-type]
                scores=[[p.return_ for p in row.result.curve]],  # type: ignore[arg-type]
            )
            for row in rows
            if row.result is not None and len(row.result.curve) > 1
        }
        write_report(
            ReportData(
                title=f"{self.task.name}: {self.source.name} to {self.target.name}",
                summary="One seed. A verdict needs at least five; see the README for that table.",
                rows=[
                    TransferRow(row.name, cell, row.target_steps)
                    for row, cell in zip(rows, result.cells, strict=True)
                ],
                return_curves=curves,
                videos=[Video("The transferred policy on the target", video)] if video else [],
                provenance=provenance,
            ),
            self.folder / "report.html",
        )

    def _control(self, path: Path) -> None:
        robot = SimulatedRobot(self.robot, self.task, self.target, seed=self.settings.seed)
        with robot:
            controller = Controller(load_bundle(path), robot, clock=robot.clock, sleep=robot.sleep)
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
        say(f"tensorboard --logdir {self.folder}")
        say(f"report     {self.folder / 'report.html'}")
        if video is not None:
            say(f"video      {video}")

