"""The tasks that come with the kit, one file each."""
