"""Deploy a policy with numpy alone: load a bundle, run it, control a robot with it.

What is imported here must stay light, since a robot imports it: no training library, no engine.
"""

from simreal.deploy.bundle import Bundle, load_bundle
from simreal.deploy.card import render_card, wilson_interval
from simreal.deploy.check import check_bundle, replay
from simreal.deploy.contents import Golden, Layer, Lstm, Normalizer
from simreal.deploy.controller import Controller
from simreal.deploy.eventlog import EventLog, read_log
from simreal.deploy.gate import CommandGate, Verdict
from simreal.deploy.manifest import (
    Evaluation,
    Manifest,
    Provenance,
    SignalEntry,
    TrainedLatency,
)
from simreal.deploy.messages import Command, Mode, RobotIO, Signals
from simreal.deploy.realtime import RealTime
from simreal.deploy.runtime import NumpyPolicy
from simreal.deploy.settings import ControlSettings
from simreal.deploy.spec import BundleSpec, joint_signals
from simreal.deploy.states import State
from simreal.deploy.timing import LoopReport
from simreal.deploy.watchdog import Watchdog
from simreal.deploy.writer import write_bundle

load = load_bundle

__all__ = [
    "Bundle",
    "BundleSpec",
    "Command",
    "CommandGate",
    "ControlSettings",
    "Controller",
    "Evaluation",
    "EventLog",
    "Golden",
    "Layer",
    "LoopReport",
    "Lstm",
    "Manifest",
    "Mode",
    "Normalizer",
    "NumpyPolicy",
    "Provenance",
    "RealTime",
    "RobotIO",
    "SignalEntry",
    "Signals",
    "State",
    "TrainedLatency",
    "Verdict",
    "Watchdog",
    "check_bundle",
    "joint_signals",
    "load",
    "load_bundle",
    "read_log",
    "render_card",
    "replay",
    "wilson_interval",
    "write_bundle",
]
