"""ONNX models that others exported: described, rewritten into the form of a bundle, run as they came."""
