"""From prepared clips to the batches that a model trains on."""
