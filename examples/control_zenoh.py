"""Control a robot over zenoh: the same frames as over UDP, between peers that know an address.

pip install "simreal[zenoh]"
simreal robot-sim task=pendubot target=mujoco_real transport=zenoh &
python examples/control_zenoh.py policies/pendubot-pybullet-randomized 127.0.0.1 47800 10
"""

import sys

from simreal.deploy import Controller, ControlSettings, LoopReport, Watchdog, load
from simreal.deploy.transports import RobotClient
from simreal.deploy.transports.links import controller_link
from simreal.deploy.transports.tripwire import TripWire


def main(policy: str, host: str, port: int, duration_s: float) -> LoopReport:
    """Run a policy, and say what happened."""
    bundle = load(policy)
    with RobotClient(controller_link("zenoh", host, port)).connect() as robot:
        ticks = round(bundle.manifest.timing.control_period_s / robot.period_s)
        arguments = robot.ticket.watchdog_arguments("zenoh", host, port, None)
        with Watchdog(TripWire.TARGET, arguments) as watchdog:
            controller = Controller(
                bundle,
                robot,
                settings=ControlSettings.of(bundle.manifest, actuator_multiple=ticks),
                period_s=robot.period_s,
                watchdog=watchdog,
            )
            controller.arm()
            return controller.run(duration_s)


if __name__ == "__main__":
    print(main(sys.argv[1], sys.argv[2], int(sys.argv[3]), float(sys.argv[4])))
