"""TensorRT engines: what makes one valid, how it is built, proved on the device, kept, and found again."""
