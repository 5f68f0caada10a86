"""A model file that one engine loads by itself, since published results rest on its importer."""

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True, kw_only=True)
class NativeModel:
    """Name the files of a robot and its ground, and the settings they are simulated with.

    The robot's table stays the record: the engine checks at build that it loaded what the table
    says, and refuses otherwise.

    Attributes:
        engine: The engine that loads it; every other one builds from the table.
        package: Python package whose folder holds the files.
        model: The robot's file in it.
        ground: The ground's file in it.
        ground_friction: Lateral friction coefficient of the ground, by which Bullet multiplies the
            link's; the table has the product.
        ground_restitution: Coefficient of restitution of the ground, likewise.
        iterations: Solver iterations.
        contact_erp: Share of a penetration that is corrected per tick.
        joints: The table's joint name to the file's, where they differ.
    """

    engine: str
    package: str
    model: str
    ground: str
    ground_friction: float
    ground_restitution: float
    iterations: int
    contact_erp: float
    joints: Mapping[str, str] = field(default_factory=dict)
