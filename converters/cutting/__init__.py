"""A Keras model as steps, and where to cut them: what looks at one frame, and what looks at a window."""
