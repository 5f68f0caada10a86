"""Ways between a controller and a robot: UDP, in-process, zenoh, ROS 2.

All but ROS 2 carry the same frame (`frames`), and share both sides: `RobotClient` is the `RobotIO`
of a controller, `RobotServer` stands before a robot's command gate. Optional packages are imported
where they are used.
"""

from simreal.deploy.transports.client import RobotClient
from simreal.deploy.transports.disturbance import Disturbance, DisturbedLink
from simreal.deploy.transports.frames import Drop, Frame, FrameCodec, Kind
from simreal.deploy.transports.link import Link, LoopbackLink, loopback
from simreal.deploy.transports.server import RobotServer
from simreal.deploy.transports.udp import DEFAULT_PORT, UdpLink

__all__ = [
    "DEFAULT_PORT",
    "Disturbance",
    "DisturbedLink",
    "Drop",
    "Frame",
    "FrameCodec",
    "Kind",
    "Link",
    "LoopbackLink",
    "RobotClient",
    "RobotServer",
    "UdpLink",
    "loopback",
]
