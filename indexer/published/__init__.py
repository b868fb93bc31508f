"""An atlas that is read from an object store: a backup that was published there, and copies of it on this machine."""
