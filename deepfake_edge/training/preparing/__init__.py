"""From clips to face pictures that models are trained on."""
