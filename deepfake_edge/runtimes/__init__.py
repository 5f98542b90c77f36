"""What runs networks: one file each, one dependency each."""
