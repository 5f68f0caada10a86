"""Print a resolved configuration, with the files that it was composed from."""

from simreal.catalog import Catalog
from simreal.config import compose, resolved_yaml
from simreal.errors import ConfigError

_DEFAULT = "transfer"


def main(args: list[str]) -> int:
    """Print the YAML of one configuration.

    Args:
        args: Optionally the name of a configuration such as `train`, then overrides. Without a
            name, a recipe (`pair=...`) is shown as the transfer that it describes.

    Raises:
        ConfigError: For an unknown configuration or an override that cannot be used.
    """
    catalog = Catalog.default()
    named = bool(args) and not args[0].startswith("-") and "=" not in args[0]
    # A verb is written with a hyphen where its file has an underscore.
    primary, lines = (args[0].replace("-", "_"), args[1:]) if named else (_DEFAULT, args)
    if not args:
        known = ", ".join(catalog.primaries) or "none"
        raise ConfigError(f"show: got no configuration. Allowed: {known}; or pair=NAME.")
    composed = compose(primary, lines, catalog)
    files = list(dict.fromkeys(layer.file for layer in composed.origins.layers))
    print(f"# {primary}, composed from {', '.join(files)}")
    print(resolved_yaml(composed), end="")
    return 0
