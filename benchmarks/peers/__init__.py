"""What the kit is compared with and no package has."""
