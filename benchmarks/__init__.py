"""How fast the parts are on this machine, measured beside what they replace."""
