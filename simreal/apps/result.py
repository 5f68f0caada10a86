"""Give a verb's result: always printed, and in a file where one is asked for.

A run on a robot may take an hour, so a file that cannot be written is told before it begins.
"""

import os
from pathlib import Path

from simreal.errors import ConfigError
from simreal.evaluation.atomic_file import write_atomic


def check_output(path: str | None) -> None:
    """Check that a file can be written, as far as that can be told without writing it.

    Args:
        path: The file; nothing is asked for if None.

    Raises:
        ConfigError: It cannot.
    """
    if path is None:
        return
    file = Path(path)
    if file.exists() and not file.is_file():
        raise ConfigError(f"output: got '{path}', which is no plain file; choose another")
    folder = next(parent for parent in file.absolute().parents if parent.exists())
    if not folder.is_dir() or not os.access(folder, os.W_OK):
        raise ConfigError(
            f"output: got '{path}', and no file can be made in '{folder}'; choose another"
        )


def give(text: str, path: str | None) -> None:
    """Print a result, and write it.

    Args:
        text: The result, one line.
        path: The file, if any; missing folders are made.

    Raises:
        ConfigError: It cannot be written; it has been printed.
    """
    print(text, flush=True)
    if path is None:
        return
    try:
        write_atomic(Path(path), (text + "\n").encode())
    except OSError as error:
        raise ConfigError(
            f"output: got '{path}', which cannot be written ({error.strerror}); the result was "
            "printed"
        ) from error
