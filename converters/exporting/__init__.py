"""A cut model as ONNX, written down in one canonical way."""
