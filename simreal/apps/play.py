"""`simreal play`: run a policy for one episode and write a video."""

from dataclasses import dataclass
from pathlib import Path

from simreal.apps.evaluate import load_act
from simreal.apps.output import run_folder, say
from simreal.config import compose
from simreal.core.robot import Robot
from simreal.core.task import Task
from simreal.domains import Domain
from simreal.errors import ConfigError
from simreal.evaluation.video import record_episode, write_video


@dataclass(frozen=True, kw_only=True)
class PlaySettings:
    """Hold the settings of `simreal play` that belong to no group.

    Attributes:
        policy: A bundle, a run, the name of a shipped policy, `zero` or `random`; the task's
            shipped policy if None.
        seed: Seed of the episode.
        output: The mp4 file; chosen if None.
        width: Width of the video [px].
        height: Height of the video [px].
    """

    policy: str | None = None
    seed: int = 0
    output: str | None = None
    width: int = 480
    height: int = 352


def main(args: list[str]) -> int:
    """Run the verb.

    Args:
        args: Overrides.

    Returns:
        The exit code.
    """
    composed = compose("play", args)
    settings = composed.settings(PlaySettings)
    robot: Robot = composed.build("robot", Robot)
    task: Task = composed.build("task", Task)
    target: Domain = composed.build("target", Domain)
    _check(settings)
    name, (act, _) = load_act(settings.policy, robot, task)
    recording = record_episode(act, robot, task, target, settings.seed)
    if settings.output is None:
        path = run_folder(None, f"{task.name}-play", settings.seed) / f"{name}.mp4"
    else:
        path = Path(settings.output)
    write_video(
        path,
        robot,
        recording,
        task.control_period_s,
        width=settings.width,
        height=settings.height,
    )
    word = "success" if recording.success else "no success"
    say(f"episode    {word}, return {recording.return_:.1f}")
    say(f"video      {path}")
    return 0


def _check(settings: PlaySettings) -> None:
    if settings.output is not None and Path(settings.output).exists():
        raise ConfigError(f"output: got '{settings.output}', which exists; choose another file")
    if settings.output is not None and Path(settings.output).suffix != ".mp4":
        raise ConfigError(f"output: got '{settings.output}'; a file that ends in .mp4 is needed")
    for key, value in (("width", settings.width), ("height", settings.height)):
        if value < 16 or value % 16:
            raise ConfigError(f"{key}: got {value}; a multiple of 16 pixels is needed")
