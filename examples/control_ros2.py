"""Control a robot over ROS 2: joint states in, joint trajectories out.

source /opt/ros/jazzy/setup.bash
python examples/control_ros2.py policies/pendubot-pybullet-randomized 10

ROS messages name no robot and no time to live. The interface is therefore the policy's own, which
checks nothing: put that of your robot there. And the robot's driver has to damp by itself when
commands stop; say `without_watchdog` only where it does.
"""

import sys

from simreal.deploy import Controller, ControlSettings, LoopReport, load
from simreal.deploy.transports.ros2 import Ros2Robot

PERIOD_S = 0.002


def main(policy: str, duration_s: float) -> LoopReport:
    """Run a policy, and say what happened."""
    bundle = load(policy)
    ticks = round(bundle.manifest.timing.control_period_s / PERIOD_S)
    with Ros2Robot(bundle.manifest.robot.interface, period_s=PERIOD_S).connect() as robot:
        controller = Controller(
            bundle,
            robot,
            settings=ControlSettings.of(bundle.manifest, actuator_multiple=ticks),
            period_s=PERIOD_S,
            without_watchdog=True,
        )
        controller.arm()
        return controller.run(duration_s)


if __name__ == "__main__":
    print(main(sys.argv[1], float(sys.argv[2])))
