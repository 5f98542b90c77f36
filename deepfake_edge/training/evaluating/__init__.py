"""How good a model is: figures with their uncertainty, on clips whose truth is known."""
