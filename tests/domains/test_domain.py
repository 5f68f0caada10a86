from typing import Any

import numpy as np
import pytest

from simreal.domains import Actuation, Domain, Randomization, Sensing
from simreal.errors import ConfigError, ParameterError
from simreal_envs.robots import double_pendulum


@pytest.mark.parametrize(
    ("part", "values", "message"),
    [
        (Sensing, {"joint_pos_noise": -0.1}, r"joint_pos_noise: -0.1 rad is outside \[0, 10\] rad"),
        (Sensing, {"joint_vel_noise": "0.1"}, "joint_vel_noise: got '0.1'; a number in rad/s"),
        (Sensing, {"joint_pos_bias": 11}, "joint_pos_bias: 11 rad is outside"),
        (Sensing, {"joint_pos_resolution": None}, "joint_pos_resolution: got None"),
        (Sensing, {"measurement_delay": 1.5}, r"1.5 s is outside \[0, 1\] s"),
        (Sensing, {"dropout": 1.01}, "dropout: 1.01 1 is outside"),
        (Sensing, {"dropout": np.nan}, "dropout: nan is not finite"),
        (Sensing, {"dropout": True}, "dropout: got True"),
        (Actuation, {"command_delay": -0.01}, "command_delay: -0.01 s is outside"),
        (Actuation, {"command_delay": [0.1, 0.2]}, "command_delay: got 2 numbers; 1 needed"),
        (Actuation, {"torque_noise": float("inf")}, "torque_noise: inf is not finite"),
    ],
)
def test_wrong_numbers_are_refused_where_they_are_written(
    part: Any, values: dict[str, Any], message: str
) -> None:
    with pytest.raises(ParameterError, match=message) as caught:
        part(**values)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"name": 3}, "domain '3': name is 3; a text is needed"),
        ({"name": ""}, "empty name"),
        ({"engine": None}, "engine is None; a text"),
        ({"dynamics": [1]}, r"dynamics is \[1\]; a mapping"),
        ({"sensing": {}}, "sensing is {}; a Sensing is needed"),
        ({"actuation": 0.01}, "actuation is 0.01; a Actuation is needed"),
        ({"randomization": {}}, "a Randomization is needed"),
        ({"scale_inertia": 1}, "scale_inertia is 1; true or false"),
        ({"options": "fast"}, "options is 'fast'; a mapping"),
    ],
)
def test_wrong_parts_are_refused(values: dict[str, Any], message: str) -> None:
    with pytest.raises(ConfigError, match=message) as caught:
        Domain(**{"name": "d", "engine": "mujoco", **values})
    assert "\n" not in str(caught.value)


def fixed(**values: Any) -> dict[str, Any]:
    return Domain(name="d", engine="mujoco", **values).fixed(double_pendulum())


def test_a_domain_fixes_what_it_names_and_sensors_and_actuators() -> None:
    values = fixed(
        dynamics={"joint_friction": {"elbow": 0.3}, "com.upper_link": [0, 0, -0.1]},
        sensing=Sensing(dropout=0.25),
        actuation=Actuation(command_delay=0.011),
    )
    assert values["joint_friction.elbow"] == 0.3
    assert values["com.upper_link"] == (0.0, 0.0, -0.1)
    assert (values["dropout"], values["command_delay"], values["torque_noise"]) == (0.25, 0.011, 0)
    assert "joint_friction.shoulder" not in values, "what is not named stays nominal"


@pytest.mark.parametrize("order", [("*", "elbow"), ("elbow", "*")])
def test_a_full_name_beats_a_star_in_either_order(order: tuple[str, str]) -> None:
    numbers = {"*": 0.0, "elbow": 0.5}
    values = fixed(dynamics={"joint_damping": {key: numbers[key] for key in order}})
    assert (values["joint_damping.shoulder"], values["joint_damping.elbow"]) == (0.0, 0.5)


@pytest.mark.parametrize(
    ("dynamics", "message"),
    [
        ({"mass": {"uper_link": 1.0}}, "Did you mean 'mass.upper_link'"),
        ({"mass": {"upper_link": -1.0}}, "outside"),
        ({"mass": {"upper_link": "heavy"}}, "got 'heavy'; a number in kg"),
        ({"com": {"upper_link": [0.0, 0.1]}}, "got 2 numbers; 3 needed"),
        ({"gravity": None}, "got None"),
        (
            {"command_delay": 0.01},
            "domain 'd': 'command_delay' is set under dynamics; set it under",
        ),
    ],
)
def test_wrong_dynamics_are_refused(dynamics: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError, match=message):
        fixed(dynamics=dynamics)


def test_domains_of_equal_parts_are_equal() -> None:
    first, second = (Domain(name="d", engine="mujoco", dynamics={"gravity": 9.0}) for _ in range(2))
    assert first == second
    assert first != Domain(name="d", engine="mujoco", randomization=Randomization())
