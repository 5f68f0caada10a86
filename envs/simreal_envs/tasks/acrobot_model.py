"""The frictionless acrobot in closed form, in numpy.

No policy is run on it: the task computes from it, once, how far a state is from upright for a motor
at the elbow (`cost_to_go`), and from which states upright can be reached (`reachable_states`).
Angles as everywhere: the shoulder 0 when hanging, the elbow relative to the upper link.
"""

from dataclasses import dataclass

import numpy as np

from simreal.core.robot import Robot

GRAVITY = 9.81
_PI = 3.141592653589793
_STEP_S = 0.01
_MAX_SPEED = (12.0, 18.0)  # of a start, shoulder and elbow [rad/s]


@dataclass(frozen=True, slots=True, kw_only=True)
class AcrobotModel:
    """Hold what the equations of motion of two links in a plane need.

    Attributes:
        shoulder: Inertia of both links about the shoulder with the lower one's mass at the elbow
            [kg m^2].
        elbow: Inertia of the lower link about the elbow [kg m^2].
        coupling: Lower mass times upper length times distance of its center from the elbow
            [kg m^2].
        upper_weight: Torque of gravity at the shoulder with the upper link level, the lower one's
            mass at the elbow [Nm].
        lower_weight: Torque of gravity at the elbow with the lower link level [Nm].
    """

    shoulder: float
    elbow: float
    coupling: float
    upper_weight: float
    lower_weight: float

    @staticmethod
    def of(robot: Robot) -> "AcrobotModel":
        """Return the model of a record of two links that move in the x-z plane.

        Args:
            robot: The record; friction and rotor inertia are left out.
        """
        _, upper, lower = robot.links
        length = -robot.joints[1].xyz[2]
        upper_com, lower_com = -upper.com[2], -lower.com[2]
        elbow = lower.inertia[1] + lower.mass * lower_com**2
        about_shoulder = upper.inertia[1] + upper.mass * upper_com**2
        return AcrobotModel(
            shoulder=about_shoulder + elbow + lower.mass * length**2,
            elbow=elbow,
            coupling=lower.mass * length * lower_com,
            upper_weight=GRAVITY * (upper.mass * upper_com + lower.mass * length),
            lower_weight=GRAVITY * lower.mass * lower_com,
        )

    def accelerations(self, pos: np.ndarray, vel: np.ndarray, torque: np.ndarray) -> np.ndarray:
        """Return the joint accelerations (N, 2) [rad/s^2].

        Source: Spong 1995, the swing up control problem for the acrobot.

        Args:
            pos: Joint angles (N, 2) [rad].
            vel: Joint velocities (N, 2) [rad/s].
            torque: Torque at the elbow (N,) [Nm].
        """
        (q1, q2), (v1, v2) = pos.T, vel.T
        bent, across = self.coupling * np.cos(q2), self.coupling * np.sin(q2)
        m11, m12, m22 = self.shoulder + 2.0 * bent, self.elbow + bent, self.elbow
        weight = self.lower_weight * np.sin(q1 + q2)
        f1 = across * v2 * (2.0 * v1 + v2) - self.upper_weight * np.sin(q1) - weight
        f2 = torque - across * v1 * v1 - weight
        det = m11 * m22 - m12 * m12
        return np.stack([(m22 * f1 - m12 * f2) / det, (m11 * f2 - m12 * f1) / det], axis=1)

    def advance(
        self, pos: np.ndarray, vel: np.ndarray, torque: np.ndarray, step_s: float
    ) -> tuple[np.ndarray, np.ndarray]:
        """Return angles and velocities one step later, by the classical Runge-Kutta method.

        Args:
            pos: Joint angles (N, 2) [rad].
            vel: Joint velocities (N, 2) [rad/s].
            torque: Torque at the elbow during the step (N,) [Nm].
            step_s: Length of the step [s].
        """
        half = 0.5 * step_s
        push1 = self.accelerations(pos, vel, torque)
        vel2 = vel + half * push1
        push2 = self.accelerations(pos + half * vel, vel2, torque)
        vel3 = vel + half * push2
        push3 = self.accelerations(pos + half * vel2, vel3, torque)
        vel4 = vel + step_s * push3
        push4 = self.accelerations(pos + step_s * vel3, vel4, torque)
        move = (vel + 2.0 * vel2 + 2.0 * vel3 + vel4) / 6.0
        push = (push1 + 2.0 * push2 + 2.0 * push3 + push4) / 6.0
        return pos + step_s * move, vel + step_s * push

    def linearized(self) -> tuple[np.ndarray, np.ndarray]:
        """Return A (4, 4) and B (4, 1) of the motion about the upright rest.

        The state is (shoulder - pi, elbow, velocities) [rad, rad/s], the input the torque [Nm].
        """
        both = self.elbow + self.coupling
        mass = np.array([[self.shoulder + 2.0 * self.coupling, both], [both, self.elbow]])
        low = self.lower_weight
        fall = np.array([[self.upper_weight + low, low], [low, low]])
        a, b = np.zeros((4, 4)), np.zeros((4, 1))
        a[:2, 2:] = np.eye(2)
        a[2:, :2] = np.linalg.solve(mass, fall)
        b[2:, 0] = np.linalg.solve(mass, np.array([0.0, 1.0]))
        return a, b


def cost_to_go(
    model: AcrobotModel,
    state_cost: tuple[float, float, float, float],
    torque_cost: float,
) -> np.ndarray:
    """Return the matrix S of the least cost x' S x of bringing the state x upright (4, 4).

    The cost is the integral of `x' diag(state_cost) x + torque_cost u^2` over time, for the motion
    about upright and no torque limit. Source: Potter 1966, matrix quadratic solutions: S follows
    from the stable eigenvectors of the Hamiltonian matrix.

    Args:
        model: The acrobot.
        state_cost: Weights of shoulder and elbow [1/rad^2] and their velocities [s^2/rad^2].
        torque_cost: Weight of the torque [1/(Nm)^2].
    """
    a, b = model.linearized()
    hamiltonian = np.block([[a, -b @ b.T / torque_cost], [-np.diag(state_cost), -a.T]])
    values, vectors = np.linalg.eig(hamiltonian)
    stable = vectors[:, values.real < 0]
    solution = np.real(stable[4:] @ np.linalg.inv(stable[:4]))
    return np.asarray(0.5 * (solution + solution.T))


def reachable_states(
    model: AcrobotModel, matrix: np.ndarray, torque_nm: float, time_s: float, num_states: int
) -> np.ndarray:
    """Return states from which upright can be reached in `time_s` at most (num_states, 4).

    Without friction the motion runs backward as it runs forward: a fall from upright under any
    torque within the limit, seen with all velocities reversed, is a swing-up that ends upright. So
    falls are simulated under a torque that brakes the elbow, which takes energy out, plus a random
    one, and states are taken from them: half of them less than a fifth of `time_s` from upright,
    where catching and balance are decided.

    Args:
        model: The acrobot.
        matrix: Matrix of the cost-to-go (4, 4); falls begin where the cost is small.
        torque_nm: Largest torque [Nm].
        time_s: Longest time to upright [s].
        num_states: How many states.

    Returns:
        Shoulder and elbow [rad] and their velocities [rad/s] of each state, always the same ones.
    """
    rng = np.random.default_rng(0)
    falls = _falls(model, matrix, torque_nm, time_s, rng)
    slow = (np.abs(falls[..., 2:]) < _MAX_SPEED).all(axis=2)
    # Dense near upright and thin far from it: the time to upright is time_s u^2.5, u uniform.
    steps = np.minimum((len(falls) * rng.random(num_states) ** 2.5).astype(int), len(falls) - 1)
    chosen = np.empty((num_states, 4))
    for row, step in enumerate(steps.tolist()):
        chosen[row] = falls[step, rng.choice(np.flatnonzero(slow[step]))]
    return chosen


def _falls(
    model: AcrobotModel,
    matrix: np.ndarray,
    torque_nm: float,
    time_s: float,
    rng: np.random.Generator,
    num_falls: int = 512,
) -> np.ndarray:
    """Return falls from upright, velocities reversed (steps, falls, 4)."""
    # Begin at a cost-to-go of 3e-5 to 0.3, evenly on a logarithmic scale, in every direction.
    inverse_root = np.linalg.cholesky(np.linalg.inv(matrix))
    begin = rng.normal(size=(num_falls, 4))
    begin /= np.linalg.norm(begin, axis=1, keepdims=True)
    begin = begin @ inverse_root.T * np.exp(rng.uniform(-10.4, -1.2, (num_falls, 1)) / 2)
    pos, vel = begin[:, :2] + [_PI, 0.0], -begin[:, 2:]
    brake = rng.uniform(0.0, 1.2, num_falls)  # [Nm s/rad]
    size = np.where(rng.random(num_falls) < 0.7, rng.uniform(0.0, 5.0, num_falls), 0.0)  # [Nm]
    memory_s = np.exp(rng.uniform(np.log(0.03), np.log(0.5), num_falls))
    noise = np.zeros(num_falls)
    frames = []
    for _ in range(round(time_s / _STEP_S) + 1):
        frames.append(np.concatenate([pos, -vel], axis=1))
        noise = noise * (1.0 - _STEP_S / memory_s)
        noise += np.sqrt(2.0 * _STEP_S / memory_s) * rng.normal(size=num_falls)
        torque = np.clip(size * noise - brake * vel[:, 1], -torque_nm, torque_nm)
        for _ in range(2):
            pos, vel = model.advance(pos, vel, torque, _STEP_S / 2)
    return np.stack(frames)
