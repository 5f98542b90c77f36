"""Doubles of hardware and libraries that the machines which test this do not have: they compute, and they refuse."""
