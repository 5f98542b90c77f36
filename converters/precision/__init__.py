"""Lower precisions of a network: typed fp16 and Q/DQ int8, as plain ONNX."""
