"""`simreal check-bundle`: check a bundle's manifest, files and golden vectors, without a robot.

It needs numpy alone, so that it runs on the robot that the bundle was copied to.
"""

import sys
from pathlib import Path

from simreal.deploy.bundle import find_problems
from simreal.deploy.check import check_bundle
from simreal.errors import BundleError, ConfigError

_ADVICE = (
    "nothing was loaded: copy the bundle from its source once more, or write it anew with "
    "`simreal export run=RUN output=PATH`; a manifest is not to be edited"
)


def main(args: list[str]) -> int:
    """Run the verb.

    Args:
        args: One folder.

    Returns:
        0 for a bundle that may be used, 2 for any other, with one line per problem on stderr, and
        one that says what to do.

    Raises:
        ConfigError: There is not exactly one argument.
    """
    if len(args) != 1:
        raise ConfigError(
            f"check-bundle: got {len(args)} arguments, expected one: simreal check-bundle PATH"
        )
    path = Path(args[0])
    problems = find_problems(path)
    if not problems:
        try:
            print("\n".join(check_bundle(path)))
        except BundleError as error:
            problems = [str(error)]
    for problem in problems:
        print(f"error: {problem}", file=sys.stderr)
    if problems:
        print(_ADVICE, file=sys.stderr)
    return 2 if problems else 0
