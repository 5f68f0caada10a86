"""The command line: `simreal <verb> group=option key=value`.

It knows the verbs and their help, imports the module of a verb only to run it, and turns errors
that a user can cause into one line and an exit code. What is not such an error keeps its traceback.
"""

import errno
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from simreal import __version__
from simreal.errors import DependencyError, OutputError, SimrealError, nearest

_INTERRUPTED = 130
_BROKEN_PIPE = 141
# What the user's disk or rights forbid, and no mistake of ours.
_FORBIDDEN = (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT)

# Packages that an extra installs: their absence is the user's to mend, not a mistake of ours.
_OPTIONAL = {
    "gymnasium": "train",
    "hydra": "train",
    "imageio": "train",
    "jinja2": "train",
    "matplotlib": "train",
    "mujoco": "train",
    "omegaconf": "train",
    "onnx": "onnx",
    "onnxruntime": "onnx",
    "pybullet": "train",
    "pybullet_data": "train",
    "pydantic": "train",
    "ray": "ray",
    "rich": "train",
    "scipy": "train",
    "stable_baselines3": "train",
    "tensorboard": "train",
    "torch": "train",
    "yaml": "train",
    "zenoh": "zenoh",
}


@dataclass(frozen=True)
class Verb:
    """Describe one verb.

    Attributes:
        module: Module with `main(args: list[str]) -> int`, imported when the verb runs.
        summary: One line of help.
        examples: Complete command lines, without `simreal`.
        usage: Arguments after the verb.
    """

    module: str
    summary: str
    examples: tuple[str, str, str]
    usage: str = "[group=option] [key=value] [--cfg job]"

    def load(self) -> Callable[[list[str]], int]:
        """Import the function that runs the verb."""
        main: Callable[[list[str]], int] = importlib.import_module(self.module).main
        return main


_SWEEPS = "[group=option] [key=value] [-m] [--cfg job]"

VERBS: dict[str, Verb] = {
    "demo": Verb(
        "simreal.apps.demo",
        "Run the whole way once: source, zero-shot, transfer, controller.",
        ("demo", "demo seed=1", "demo --help"),
    ),
    "train": Verb(
        "simreal.apps.train",
        "Train a policy in its source domain.",
        ("train task=pendubot", "train task=pendubot seed=0,1,2 -m", "train resume=outputs/RUN"),
        _SWEEPS,
    ),
    "transfer": Verb(
        "simreal.apps.transfer",
        "Transfer a policy from its source domain to a target domain.",
        ("transfer transfer=fine_tune", "transfer transfer=frozen_extractor seed=1", "list pair"),
        _SWEEPS,
    ),
    "evaluate": Verb(
        "simreal.apps.evaluate",
        "Measure policies in domains, with confidence intervals.",
        (
            "evaluate policy=outputs/RUN/policy",
            "evaluate policy=outputs/RUN/policy seed=3",
            "evaluate target=mujoco_ideal,mujoco_real -m",
        ),
        _SWEEPS,
    ),
    "identify": Verb(
        "simreal.apps.identify",
        "Identify a robot's dynamics from its logs, as a target domain.",
        (
            "identify files=run.csv",
            "identify files=[a.csv,b.csv.gz] held_out=c.csv",
            "identify robot=simple_pendulum log=simple_pendulum files=run.csv unknowns=friction",
        ),
        "files=[LOG,...] [held_out=[LOG,...]] [group=option] [key=value]",
    ),
    "play": Verb(
        "simreal.apps.play",
        "Watch a policy, in a window or as a video.",
        ("play policy=outputs/RUN/policy", "play policy=random", "play policy=zero"),
    ),
    "export": Verb(
        "simreal.apps.export",
        "Write the bundle that a controller loads.",
        (
            "export run=outputs/RUN",
            "export run=outputs/RUN output=my_policy",
            "export run=outputs/RUN format=c",
        ),
        "run=PATH [output=PATH] [format=bundle|onnx|c|leapp|all]",
    ),
    "check-bundle": Verb(
        "simreal.apps.check_bundle",
        "Check a bundle's manifest, files and golden vectors.",
        ("check-bundle my.policy", "check-bundle outputs/RUN/policy", "check-bundle --help"),
        "PATH",
    ),
    "replay": Verb(
        "simreal.apps.replay",
        "Show a controller's log against the golden behavior of its policy.",
        (
            "replay run.log policy=my.policy",
            "replay run.log policy=pendubot-pybullet",
            "list policies",
        ),
        "LOG policy=PATH",
    ),
    "robot-sim": Verb(
        "simreal.apps.robot_sim",
        "Be a robot: a simulation in real time behind a transport, with faults on demand.",
        (
            "robot-sim target=mujoco_real port=47800",
            "robot-sim task=pendubot target=pybullet_real duration=60",
            "robot-sim fault=nan fault_at=5",
        ),
    ),
    "control": Verb(
        "simreal.apps.control",
        "Run a policy on a robot, at its trained rate, over a transport.",
        (
            "control policy=pendubot-pybullet-randomized host=127.0.0.1 duration=60",
            "control policy=my.policy transport=zenoh",
            "control policy=my.policy priority=20 key_file=robot.key",
        ),
        "policy=PATH [transport= host= port= key_file= duration= runtime= priority= patience= "
        "limit= tolerance= watchdog= output= log=]",
    ),
    "list": Verb(
        "simreal.apps.list_",
        "List groups, their options, and the shipped policies.",
        ("list", "list task", "list policies"),
        "[group ...]",
    ),
    "show": Verb(
        "simreal.apps.show",
        "Print a resolved configuration, and where its files are.",
        ("show train", "show train task=pendubot", "show transfer seed=3"),
        "[configuration] [group=option] [key=value]",
    ),
    "info": Verb(
        "simreal.apps.info",
        "Print versions, hardware, import paths and thread settings.",
        ("info", "info --help", "info > report.txt"),
        "",
    ),
    "audit": Verb(
        "simreal.apps.audit",
        "Prove that each dynamics parameter acts in an engine.",
        (
            "audit robot=double_pendulum engine=mujoco",
            "audit robot=double_pendulum engine=pybullet",
            "audit --help",
        ),
        "robot=NAME engine=NAME",
    ),
    "check-robot": Verb(
        "simreal.apps.check_robot",
        "Compare how each engine loads a URDF or MJCF file.",
        ("check-robot my_robot.urdf", "check-robot my_robot.xml", "check-robot --help"),
        "FILE",
    ),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run the command line.

    Args:
        argv: Arguments after the program's name; `sys.argv[1:]` by default.

    Returns:
        The exit code: 0, the verb's own, 2 for a wrong command or configuration, 130 after an
        interrupt, 141 where nobody reads the output any more.
    """
    arguments = list(sys.argv[1:] if argv is None else argv)
    if sys.stdout is None:  # closed by whoever started this
        sys.stdout = Path(os.devnull).open("w", encoding="utf-8")  # noqa: SIM115
    try:
        code = _dispatch(arguments)
        sys.stdout.flush()
    except SimrealError as error:
        return _fail(error)
    except ModuleNotFoundError as error:
        root = str(error.name).split(".")[0]
        if root not in _OPTIONAL:
            raise
        return _fail(
            DependencyError(
                f"the package '{root}' is not installed, and 'simreal {arguments[0]}' needs it. "
                f"Install it with: pip install 'simreal[{_OPTIONAL[root]}]'"
            )
        )
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return _INTERRUPTED
    except BrokenPipeError:
        # The reader has gone; what is still buffered must not raise again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return _BROKEN_PIPE
    except OSError as error:
        if error.errno not in _FORBIDDEN:
            raise
        place = "the output" if error.filename is None else f"'{error.filename}'"
        return _fail(OutputError(f"{place}: {error.strerror}; choose another place to write to"))
    return code


def _dispatch(arguments: list[str]) -> int:
    if not arguments or arguments[0] in ("-h", "--help", "help"):
        print(_overview())
        return 0
    if arguments[0] in ("-V", "--version"):
        print(__version__)
        return 0
    name, rest = arguments[0], arguments[1:]
    if name not in VERBS:
        print(
            f"error: unknown verb '{name}'. Allowed: {', '.join(VERBS)}.{nearest(name, VERBS)}",
            file=sys.stderr,
        )
        return 2
    if "-h" in rest or "--help" in rest:
        print(_verb_help(name))
        return 0
    if "--cfg" in rest:
        return VERBS["show"].load()([_primary(name), *_without_cfg(rest)])
    return VERBS[name].load()(rest)


def _fail(error: SimrealError) -> int:
    print(f"error: {' '.join(str(error).split())}", file=sys.stderr)
    return error.exit_code


def _without_cfg(arguments: list[str]) -> list[str]:
    index = arguments.index("--cfg")
    end = index + 2 if arguments[index + 1 : index + 2] == ["job"] else index + 1
    return arguments[:index] + arguments[end:]


def _primary(verb: str) -> str:
    return verb.replace("-", "_")


def _overview() -> str:
    width = max(len(name) for name in VERBS)
    lines = [
        "simreal: transfer policies between simulators, and to the robot.",
        "",
        "usage: simreal <verb> [group=option] [key=value]",
        "",
        "verbs:",
        *(f"  {name:<{width}}  {verb.summary}" for name, verb in VERBS.items()),
        "",
        "examples:",
        "  simreal demo",
        "  simreal list task",
        "  simreal train --help",
    ]
    return "\n".join(lines)


def _verb_help(name: str) -> str:
    # Imported here: the overview needs no look at the configuration folders.
    from simreal.catalog import Catalog

    verb = VERBS[name]
    lines = [f"simreal {name}: {verb.summary}", "", f"usage: simreal {name} {verb.usage}".rstrip()]
    catalog = Catalog.default()
    option = catalog.primaries.get(_primary(name))
    if option is not None:
        defaults = option.defaults()
        if defaults:
            lines += ["", "groups and their options (* is the default):"]
        width = max((len(group) for group in defaults), default=0)
        for group, chosen in defaults.items():
            names = catalog.options(group.split("@")[0])
            listing = ", ".join(f"{n}*" if n == chosen else n for n in names) or "(no options)"
            lines.append(f"  {group:<{width}}  {listing}")
        lines += ["", f"settings: simreal show {name}"]
    lines += ["", "examples:", *(f"  simreal {example}" for example in verb.examples)]
    return "\n".join(lines)
