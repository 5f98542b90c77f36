"""The workshop's model side: families of architectures and how their weights come about. Needs Keras."""
