"""Environments on the fake engine, closed in the end."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from simreal.domains import Domain, SimVecEnv
from tests.domains.toy import FakeEngine, Reach
from tests.engines.sample_robots import cart

Build = Callable[..., SimVecEnv]


@pytest.fixture
def build(monkeypatch: pytest.MonkeyPatch) -> Iterator[Build]:
    """Build an environment of the cart on the fake engine.

    Keywords of `Domain` go into the domain, the others to `SimVecEnv`; `task` is a task.
    """
    monkeypatch.setattr(
        "simreal.domains.vec_env.make_engine", lambda name, spec, workers: FakeEngine(spec)
    )
    made: list[SimVecEnv] = []

    def make(num_worlds: int = 2, **settings: Any) -> SimVecEnv:
        parts = {k: settings.pop(k) for k in list(settings) if k in Domain.__dataclass_fields__}
        task = settings.pop("task", None) or Reach()
        domain = Domain(**{"name": "toy", "engine": "fake", **parts})
        made.append(SimVecEnv(cart(), task, domain, num_worlds, **settings))
        return made[-1]

    yield make
    for env in made:
        env.close()
