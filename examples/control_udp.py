"""Control a robot over UDP: the frames of `simreal.deploy.transports`, watched by another process.

simreal robot-sim task=pendubot target=mujoco_real &
python examples/control_udp.py policies/pendubot-pybullet-randomized 127.0.0.1 47800 10
"""

import sys

from simreal.deploy import Controller, ControlSettings, LoopReport, Watchdog, load
from simreal.deploy.transports import RobotClient, UdpLink
from simreal.deploy.transports.tripwire import TripWire


def main(policy: str, host: str, port: int, duration_s: float) -> LoopReport:
    """Run a policy, and say what happened."""
    bundle = load(policy)
    with RobotClient(UdpLink(to=(host, port))).connect() as robot:
        ticks = round(bundle.manifest.timing.control_period_s / robot.period_s)
        arguments = robot.ticket.watchdog_arguments("udp", host, port, None)
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
