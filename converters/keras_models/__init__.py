"""Keras models of every make: rebuilt from a checked configuration, their weights put in place and proved there."""
