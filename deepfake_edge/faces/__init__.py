"""What finds faces: one file each, one dependency each."""
