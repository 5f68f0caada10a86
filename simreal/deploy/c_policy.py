"""Run the generated C of a policy from Python: to test it, and where it is faster.

The C is generated anew from the weights of the bundle and compiled here; a `policy.c` that came
with a bundle is never compiled or run.
"""

import ctypes
import os
import shutil
import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from simreal.deploy.bundle import Bundle
from simreal.deploy.c_source import C_SOURCE, c_files, carry_fields
from simreal.deploy.decode import one_line
from simreal.deploy.policy import PolicyBase
from simreal.errors import DependencyError

FLAGS = ("-std=c99", "-O3", "-march=native", "-ffp-contract=fast", "-fPIC", "-shared")
"""How the C is compiled. Contraction joins a product and a sum into one rounding; nothing else of
`-ffast-math` is allowed, since that would remove the tests for numbers that are not finite."""

_TYPES: dict[str, Any] = {"double": ctypes.c_double, "float": ctypes.c_float, "int": ctypes.c_int}


def compile_policy(bundle: Bundle, folder: Path, flags: Sequence[str] = FLAGS) -> Path:
    """Generate and compile a policy.

    Args:
        bundle: A loaded bundle.
        folder: Where source, header and library are written.
        flags: Flags for the compiler.

    Returns:
        The shared library.

    Raises:
        DependencyError: There is no C compiler (`CC`, `cc` or `gcc`), or it failed.
        BundleError: The policy has no form in C.
    """
    wanted = os.environ.get("CC", "cc")
    compiler = shutil.which(wanted) or shutil.which("gcc")
    if compiler is None:
        raise DependencyError(
            f"no C compiler: looked for '{wanted}' and 'gcc'; install one or set CC"
        )
    for name, content in c_files(bundle).items():
        (folder / name).write_bytes(content)
    library = folder / "policy.so"
    command = [compiler, *flags, str(folder / C_SOURCE), "-o", str(library), "-lm"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise DependencyError(one_line(f"'{compiler}' failed on the policy: {done.stderr[-500:]}"))
    return library


class CPolicy(PolicyBase):
    """Turn raw signals into commands with compiled C; the same as `NumpyPolicy` to 1e-5."""

    def __init__(self, bundle: Bundle, library: Path | None = None) -> None:
        """Load a library, or generate and compile one.

        Args:
            bundle: A loaded bundle.
            library: What `compile_policy` gave for this bundle; compiled here if None.

        Raises:
            DependencyError: There is no C compiler, or it failed.
        """
        super().__init__(bundle.manifest)
        if library is None:
            # The system keeps a loaded library; its file may go.
            with tempfile.TemporaryDirectory(prefix="simreal-") as folder:
                loaded = ctypes.CDLL(str(compile_policy(bundle, Path(folder))))
        else:
            loaded = ctypes.CDLL(str(library))
        fields = carry_fields(bundle.manifest)
        layout = [(field.name, _TYPES[field.ctype] * field.count) for field in fields]
        self._carry = type("Carry", (ctypes.Structure,), {"_fields_": layout})()
        self._observation = np.ctypeslib.as_array(self._carry.observation)
        self._output = np.ctypeslib.as_array(self._carry.output)
        self._action = np.ctypeslib.as_array(self._carry.action)
        self._command = np.zeros(len(bundle.manifest.robot.actuators))
        self._init, self._run = loaded.policy_init, loaded.policy_step
        self._init.restype, self._run.restype = None, ctypes.c_int
        # Made once: an argument that is a pointer already costs no conversion.
        self._at_carry = ctypes.c_void_p(ctypes.addressof(self._carry))
        self._at_signals = ctypes.c_void_p(self._signals.packed.ctypes.data)
        self._at_command = ctypes.c_void_p(self._command.ctypes.data)

    def run_packed(self, signals: np.ndarray) -> np.ndarray:
        """Continue the episode with signals that are packed already; the quickest way to step.

        Args:
            signals: All signals, one after the other in the order of the manifest (S).

        Returns:
            Commands of all actuators (A), valid until the next step.
        """
        self._signals.packed[:] = signals
        self._advance()
        return self._command

    def _begin(self) -> None:
        self._init(self._at_carry)
        self._advance()

    def _advance(self) -> None:
        code = self._run(self._at_carry, self._at_signals, self._at_command)
        if code:  # as the numpy runtime does: the caller tests what it is given
            self._output.fill(np.nan)
            self._action.fill(np.nan)
            self._command.fill(np.nan)
