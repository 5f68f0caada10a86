"""Whatever a user gets wrong in a file or on the command line costs one line, and exit code 2.

Each case states the parts that the line must hold: the file, the key, what was seen, what is
allowed, and the nearest name where there is one.
"""

from collections.abc import Callable

import pytest

COMMAND_LINE = [
    # arguments, parts of the message
    (["task=reech"], ["conf/task", "task:", "'reech'", "push, reach", "Did you mean 'reach'?"]),
    (["tsk=reach"], ["conf/train.yaml", "'tsk'", "seed", "source", "Did you mean 'task'?"]),
    (["seeed=1"], ["conf/train.yaml", "'seeed'", "seed, steps", "Did you mean 'seed'?"]),
    (["task.horizn=3"], ["conf/task/reach.yaml", "task.horizn", "horizon, reward", "'horizon'"]),
    (["task.horizon=abc"], ["conf/task/reach.yaml", "task.horizon", "'abc'", "expected int"]),
    (["task.horizon=true"], ["conf/task/reach.yaml", "task.horizon", "True", "expected int"]),
    (["task.horizon=1.5"], ["conf/task/reach.yaml", "task.horizon", "1.5", "expected int"]),
    (["task.horizon=null"], ["conf/task/reach.yaml", "task.horizon", "null", "expected int"]),
    (["task.horizon=0"], ["conf/task/reach.yaml", "task.horizon", "got 0", "at least 1"]),
    (["task.gain=high"], ["conf/task/reach.yaml", "task.gain", "'high'", "expected float"]),
    (["task.gain='0.01'"], ["conf/task/reach.yaml", "task.gain", "'0.01'", "expected float"]),
    (["task.frozen=1"], ["conf/task/reach.yaml", "task.frozen", "1", "expected bool"]),
    (
        ["task.reward=dens"],
        ["conf/task/reach.yaml", "task.reward", "'dens'", "'dense', 'sparse'", "mean 'dense'?"],
    ),
    (["task.goal=[1]"], ["conf/task/reach.yaml", "task.goal", "[1]", "tuple[float, float]"]),
    (["task.goal=[1,x]"], ["conf/task/reach.yaml", "task.goal.1", "'x'", "tuple[float, float]"]),
    (["task.noise=3"], ["conf/task/reach.yaml", "task.noise", "3", "expected Noise or null"]),
    (["task.noise.std=-1"], ["conf/task/reach.yaml", "task.noise.std", "-1", "at least 0"]),
    (
        ["task.noise.sdt=1"],
        ["conf/task/reach.yaml", "task.noise.sdt", "'sdt'", "Did you mean 'std'"],
    ),
    (["task.noise={sdt: 1}"], ["conf/task/reach.yaml", "task.noise.sdt", "'sdt'", "mean 'std'?"]),
    (
        ["source.dynamics.mas=2"],
        ["conf/domain/bullet.yaml", "source.dynamics.mas", "'mas'", "mass", "Did you mean 'mass'?"],
    ),
    (
        ["+source.dynamics.weight=2"],
        [
            "conf/domain/bullet.yaml",
            "source.dynamics.weight",
            "unknown parameter 'weight'",
            "friction, mass",
        ],
    ),
    (
        ["source.dynamics.mass=-2"],
        ["conf/domain/bullet.yaml", "source.dynamics.mass", "-2", "must be positive"],
    ),
    (["source.layers=[1,two]"], ["conf/source/pybullet.yaml", "source.layers.1", "'two'", "int"]),
    (["source.layers=3"], ["conf/source/pybullet.yaml", "source.layers", "got 3", "Sequence[int]"]),
    (
        ["source.engine=mojoco"],
        ["conf/domain/bullet.yaml", "source.engine", "'mojoco'", "'mujoco'?"],
    ),
    (["domain=mujoco"], ["conf/train.yaml", "'domain'", "domain@source", "mean 'domain@source'?"]),
    (["evaluation=short"], ["conf/train.yaml", "'evaluation'", "algo, domain@source"]),
    (["domian@source=mujoco"], ["conf", "'domian'", "algo, domain", "Did you mean 'domain'?"]),
    (["pair=hevy"], ["conf/pair", "pair:", "'hevy'", "Did you mean 'heavy'?"]),
    (["task=null"], ["conf/task", "task:", "null", "push, reach"]),
    (["task=[reach]"], ["conf/task", "task:", "push, reach"]),
    (["+task=push"], ["conf/task", "task:", "+task=push", "write task=push"]),
    (["+user=x"], ["conf/train.yaml", "user", "+user=x", "seed, steps"]),
    (["++sead=2"], ["conf/train.yaml", "sead", "++sead=2", "Did you mean 'seed'?"]),
    (["+seed=2"], ["conf/train.yaml", "seed", "exists", "seed=2"]),
    (["~sed"], ["conf/train.yaml", "'sed'", "Did you mean 'seed'?"]),
    (["horizon=3"], ["conf/train.yaml", "'horizon'", "Did you mean 'task.horizon'?"]),
    (["std=1"], ["conf/train.yaml", "'std'", "Did you mean 'task.noise.std'?"]),
    (["seed=abc"], ["conf/train.yaml", "seed", "'abc'", "expected int"]),
    (["seed=false"], ["conf/train.yaml", "seed", "False", "expected int"]),
    (["verbose=3"], ["conf/train.yaml", "verbose", "3", "expected bool"]),
    (["name=3"], ["conf/train.yaml", "name", "3", "expected str"]),
    (["factor=x"], ["conf/train.yaml", "factor", "'x'", "expected float"]),
    (["resume=3"], ["conf/train.yaml", "resume", "3", "expected str or null"]),
    (["seed=1,2"], ["conf/train.yaml", "seed", "seed=1,2", "-m"]),
    (["task=reach,push"], ["conf/task", "task", "task=reach,push", "-m"]),
    (["seed=[1"], ["conf/train.yaml", "seed=[1", "key=[1,2]"]),
    (["seed.x=1"], ["conf/train.yaml", "seed", "seed.x=1", "1 (int)"]),
    (["reach"], ["conf/train.yaml", "'reach'", "key=value", "Did you mean 'task=reach'?"]),
    (["--sede=1"], ["conf/train.yaml", "'--sede=1'", "--cfg"]),
    (["--multrun", "seed=1"], ["conf/train.yaml", "'--multrun'", "Did you mean '--multirun'?"]),
    (["name=${nme}"], ["conf/train.yaml", "name", "nme", "not found"]),
    (["seed=???"], ["conf/train.yaml", "seed", "???", "seed=VALUE"]),
    (["hydra.run.dir=x"], ["conf/train.yaml", "hydra", "seed, steps"]),
    (["hydra.searchpath=[/nowhere]"], ["hydra.searchpath", "/nowhere", "existing folder"]),
    (
        ["task._target_=os.system"],
        ["conf/task/reach.yaml", "task._target_", "'os.system'", "toy_kit.*"],
    ),
    (["algo.rate=fast"], ["conf/algo/ppo.yaml", "algo.rate", "'fast'", "expected float"]),
]

FILES = [
    # file, content, arguments, parts of the message
    (
        "task/reach.yaml",
        "_target_: toy_kit.Reach\nhorizn: 3\n",
        [],
        ["conf/task/reach.yaml", "task.horizn", "'horizn'", "horizon, reward", "'horizon'?"],
    ),
    (
        "task/reach.yaml",
        "_target_: toy_kit.Reach\n",
        [],
        ["conf/task/reach.yaml", "task", "'horizon'", "no keys", "reward"],
    ),
    (
        "task/reach.yaml",
        "_target_: toy_kit.Reech\nhorizon: 3\n",
        [],
        ["conf/task/reach.yaml", "task._target_", "'toy_kit.Reech'", "Did you mean 'Reach'?"],
    ),
    (
        "task/reach.yaml",
        "_target_: toy_kot.Reach\nhorizon: 3\n",
        [],
        ["conf/task/reach.yaml", "task._target_", "'toy_kot.Reach'", "Did you mean 'toy_kit.'?"],
    ),
    (
        "task/reach.yaml",
        "_target_: toy_kit.os.system\ncommand: 'true'\n",
        [],
        ["conf/task/reach.yaml", "task._target_", "'toy_kit.os.system'", "may not be built"],
    ),
    (
        "task/reach.yaml",
        "_target_: toy_kit.NOT_CALLABLE\n",
        [],
        ["conf/task/reach.yaml", "task._target_", "'toy_kit.NOT_CALLABLE'", "class or function"],
    ),
    (
        "task/reach.yaml",
        "_target_: 3\n",
        [],
        ["conf/task/reach.yaml", "task._target_", "3", "dotted name"],
    ),
    (
        "task/reach.yaml",
        "_target_: toy_kit.Noise\nstd: 0.1\n",
        [],
        ["conf/task/reach.yaml", "task", "Noise", "expected Reach"],
    ),
    (
        "task/reach.yaml",
        "_target_: toy_kit.Reach\nhorizon: 3\n_partal_: true\n",
        [],
        ["conf/task/reach.yaml", "'_partal_'", "_target_, _partial_", "Did you mean '_partial_'?"],
    ),
    (
        "task/reach.yaml",
        "_target_: toy_kit.Reach\nhorizon: 3\n_partial_: yes please\n",
        [],
        ["conf/task/reach.yaml", "task._partial_", "'yes please'", "true or false"],
    ),
    ("task/reach.yaml", "horizon: 3\n", [], ["conf/task/reach.yaml", "task", "expected Reach"]),
    ("task/reach.yaml", "- 1\n", [], ["conf/task/reach.yaml", "list", "mapping of keys"]),
    ("task/reach.yaml", "a: [1\nb: 2\n", [], ["conf/task/reach.yaml", "line 2", "key: value"]),
    ("task/reach.yaml", "a: 1\na: 2\n", [], ["conf/task/reach.yaml", "line 2", "duplicate key"]),
    ("task/reach.yaml", "a: ${b\n", [], ["conf/task/reach.yaml", "${b"]),
    (
        "pair/heavy.yaml",
        "# @package _global_\nsead: 3\n",
        ["pair=heavy"],
        ["conf/pair/heavy.yaml", "'sead'", "seed", "Did you mean 'seed'?"],
    ),
    (
        "pair/heavy.yaml",
        "# @package _global_\ntask:\n  horizn: 3\n",
        ["pair=heavy"],
        ["conf/pair/heavy.yaml", "task.horizn", "horizon", "Did you mean 'horizon'?"],
    ),
    (
        "pair/heavy.yaml",
        "# @package _global_\nseed: abc\n",
        ["pair=heavy"],
        ["conf/pair/heavy.yaml", "seed", "'abc'", "expected int"],
    ),
    (
        "pair/heavy.yaml",
        "# @package _global_\ndefaults:\n  - override /task: pusch\n",
        ["pair=heavy"],
        ["conf/pair/heavy.yaml", "task", "'pusch'", "push, reach", "Did you mean 'push'?"],
    ),
    (
        "pair/heavy.yaml",
        "# @package _global_\ndefaults:\n  - override /tsk: push\n",
        ["pair=heavy"],
        ["conf/pair/heavy.yaml", "'tsk'", "task", "Did you mean 'task'?"],
    ),
    (
        "source/mujoco.yaml",
        "defaults:\n  - /domian@_here_: mujoco\n",
        ["source=mujoco"],
        ["conf/source/mujoco.yaml", "'domian'", "domain", "Did you mean 'domain'?"],
    ),
    (
        "train.yaml",
        "defaults:\n  - task: ???\n  - _self_\nseed: 1\n",
        [],
        ["conf/train.yaml", "task", "???", "push, reach", "task=OPTION"],
    ),
    ("train.yaml", "defaults: 3\n", [], ["conf/train.yaml", "defaults must be a list"]),
    (
        "algo/ppo.yaml",
        "_target_: toy_kit.Learner\n_partial_: true\nrate: [1]\n",
        [],
        ["conf/algo/ppo.yaml", "algo.rate", "[1] (list)", "expected float"],
    ),
]


def _assert_one_line(code: int, err: str, parts: list[str]) -> None:
    assert code == 2
    assert err.count("\n") == 1, err
    assert err.startswith("error: ")
    assert "Traceback" not in err
    missing = [part for part in parts if part not in err]
    assert not missing, f"{missing} not in: {err}"


@pytest.mark.parametrize(("arguments", "parts"), COMMAND_LINE, ids=lambda value: str(value)[:40])
def test_wrong_command_line_costs_one_line(
    train: Callable[..., int],
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    parts: list[str],
) -> None:
    code = train(*arguments)
    _assert_one_line(code, capsys.readouterr().err, parts)


@pytest.mark.parametrize(("name", "text", "arguments", "parts"), FILES)
def test_wrong_file_costs_one_line(
    train: Callable[..., int],
    edit: Callable[[str, str], None],
    capsys: pytest.CaptureFixture[str],
    name: str,
    text: str,
    arguments: list[str],
    parts: list[str],
) -> None:
    edit(name, text)
    code = train(*arguments)
    _assert_one_line(code, capsys.readouterr().err, parts)


def test_the_tree_itself_is_right(
    train: Callable[..., int], capsys: pytest.CaptureFixture[str]
) -> None:
    assert train() == 0
    assert "Reach(horizon=100" in capsys.readouterr().out
