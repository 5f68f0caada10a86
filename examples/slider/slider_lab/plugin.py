"""What simreal finds through the entry point: where the YAML files lie, and what may be built."""

from pathlib import Path
from types import SimpleNamespace

plugin = SimpleNamespace(
    conf_dir=Path(__file__).resolve().parent / "conf", targets=("slider_lab.",)
)
