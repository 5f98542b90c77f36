"""The names that a Keras configuration may hold: what only computes, and what a video model can need.

Left out on purpose: whatever runs code or loads a file (Lambda, TFSMLayer, TorchModuleWrapper, JaxLayer, FlaxLayer,
TensorFlow's recorded operations), whatever reads a vocabulary (the lookup, hashing and text layers), and operations
that take functions (Map, Scan, Cond, WhileLoop).
"""

from __future__ import annotations

from collections.abc import Mapping


def _ranked(*names: str) -> frozenset[str]:
    return frozenset(f"{name}{rank}D" for name in names for rank in (1, 2, 3))


LAYERS = _ranked(
    "AdaptiveAveragePooling", "AdaptiveMaxPooling", "AveragePooling", "Conv", "ConvLSTM", "Cropping",
    "GlobalAveragePooling", "GlobalMaxPooling", "MaxPooling", "SpatialDropout", "UpSampling", "ZeroPadding",
) | frozenset((
    "Activation", "ActivityRegularization", "Add", "AdditiveAttention", "AlphaDropout", "Attention", "AugMix",
    "AutoContrast", "Average", "BatchNormalization", "Bidirectional", "CenterCrop", "Concatenate", "Conv1DTranspose",
    "Conv2DTranspose", "Conv3DTranspose", "Dense",
    "DepthwiseConv1D", "DepthwiseConv2D", "Dot", "Dropout", "ELU", "EinsumDense", "Embedding", "Equalization",
    "Flatten", "GRU", "GRUCell", "GaussianDropout", "GaussianNoise", "GroupNormalization", "GroupQueryAttention",
    "GroupedQueryAttention", "Identity", "InputLayer", "LSTM", "LSTMCell", "LayerNormalization", "LeakyReLU",
    "Masking", "Maximum", "Minimum", "MultiHeadAttention", "Multiply", "Normalization", "PReLU", "Permute",
    "Pipeline",
    "RMSNormalization", "RNN", "RandAugment", "RandomBrightness", "RandomColorDegeneration", "RandomColorJitter",
    "RandomContrast", "RandomCrop", "RandomElasticTransform", "RandomErasing", "RandomFlip", "RandomGaussianBlur",
    "RandomGrayscale", "RandomHeight", "RandomHue", "RandomInvert", "RandomPerspective", "RandomPosterization",
    "RandomRotation", "RandomSaturation", "RandomSharpness", "RandomShear", "RandomTranslation", "RandomWidth",
    "RandomZoom", "ReLU", "RepeatVector", "Rescaling", "Reshape", "Resizing", "SeparableConv1D", "SeparableConv2D",
    "SimpleRNN", "SimpleRNNCell", "Softmax", "Solarization", "SpectralNormalization", "StackedRNNCells", "Subtract",
    "SyncBatchNormalization", "ThresholdedReLU", "TimeDistributed", "UnitNormalization",
))  # fmt: skip

MODELS = frozenset(("Functional", "Model", "Sequential"))

INITIALIZERS = frozenset((
    "Constant", "GlorotNormal", "GlorotUniform", "HeNormal", "HeUniform", "Identity", "IdentityInitializer",
    "LecunNormal", "LecunUniform", "Ones", "Orthogonal", "OrthogonalInitializer", "RandomNormal", "RandomUniform",
    "TruncatedNormal", "VarianceScaling", "Zeros",
))  # fmt: skip
REGULARIZERS = frozenset(("L1", "L1L2", "L2", "OrthogonalRegularizer"))
CONSTRAINTS = frozenset(("MaxNorm", "MinMaxNorm", "NonNeg", "UnitNorm"))
POLICIES = frozenset(("DTypePolicy", "FloatDTypePolicy", "Policy"))

# `Identity` is an initializer and a layer: where no module is named, either is harmless.
UNNAMED = LAYERS | MODELS | INITIALIZERS | REGULARIZERS | CONSTRAINTS | POLICIES

_NUMPY = frozenset((
    "Abs", "Absolute", "Add", "Amax", "Amin", "Any", "Average", "BroadcastTo", "Ceil", "Clip", "Concatenate", "Copy",
    "Cos", "Divide", "DivideNoNan", "Dot", "Einsum", "Equal", "Exp", "ExpandDims", "Expm1", "Flip", "Floor",
    "FloorDivide", "GetItem", "Greater", "GreaterEqual", "Less", "LessEqual", "Log", "Log1p", "LogicalAnd",
    "LogicalNot", "LogicalOr", "Matmul", "Max", "Maximum", "Mean", "Min", "Minimum", "Moveaxis", "Multiply", "Negative",
    "NotEqual", "OnesLike", "Pad", "Power", "Prod", "Ravel", "Reciprocal", "Repeat", "Reshape", "Roll", "Sign", "Sin",
    "Split", "Sqrt", "Square", "Squeeze", "Stack", "Std", "Subtract", "Sum", "Swapaxes", "Take", "TakeAlongAxis",
    "Tanh", "Tensordot", "Tile", "Transpose", "TrueDivide", "Var", "Where", "ZerosLike",
))  # fmt: skip
_NN = frozenset((
    "AdaptiveAveragePool", "AdaptiveMaxPool", "AveragePool", "BatchNorm", "Celu", "Conv", "DepthToSpace",
    "DepthwiseConv", "DotProductAttention", "Elu", "Gelu", "Glu", "HardSigmoid", "HardSilu", "HardTanh", "LayerNorm",
    "LeakyRelu", "LogSigmoid", "LogSoftmax", "MaxPool", "Moments", "Normalize", "RMSNorm", "Relu", "Relu6", "Selu",
    "SeparableConv", "Sigmoid", "Silu", "Softmax", "Softplus", "Softsign", "SpaceToDepth", "Squareplus", "Threshold",
))  # fmt: skip

# Operations of `keras.ops` in a functional model; one name can stand in several modules.
OPERATIONS: Mapping[str, frozenset[str]] = {
    "keras.src.ops.numpy": _NUMPY,
    "keras.src.ops.nn": _NN,
    "keras.src.ops.core": frozenset(("Cast", "Slice", "StopGradient", "Unstack")),
    "keras.src.ops.math": frozenset(("Erf", "Logsumexp", "Rsqrt")),
    "keras.src.ops.image": frozenset(("RGBToGrayscale", "Resize")),
    "keras.src.ops.linalg": frozenset(("Norm",)),
}

# Where each Keras keeps its own: Keras 3, Keras 2 since 2.13 and before, and Keras 2 as the tf_keras package.
_ROOTS = ("keras", "tf_keras")
_FUNCTIONAL = ("models", "src.models.functional", "src.models.model", "src.engine.functional", "src.engine.training",
               "engine.functional", "engine.training")  # fmt: skip
_SEQUENTIAL = ("models", "src.models.sequential", "src.engine.sequential", "engine.sequential")


def _placed(names: frozenset[str], *places: str) -> dict[str, frozenset[str]]:
    return {".".join(filter(None, (root, place))): names for root in _ROOTS for place in places}


def _joined(*tables: Mapping[str, frozenset[str]]) -> Mapping[str, frozenset[str]]:
    joined: dict[str, frozenset[str]] = {}
    for table in tables:
        for module, names in table.items():
            joined[module] = joined.get(module, frozenset()) | names
    return joined


# module -> names that may be loaded from it
CLASSES: Mapping[str, frozenset[str]] = _joined(
    OPERATIONS,
    _placed(LAYERS, "layers"),
    _placed(MODELS | POLICIES, ""),
    _placed(MODELS - {"Sequential"}, *_FUNCTIONAL),
    _placed(frozenset(("Sequential",)), *_SEQUENTIAL),
    _placed(INITIALIZERS, "initializers"),
    _placed(REGULARIZERS, "regularizers"),
    _placed(CONSTRAINTS, "constraints"),
    _placed(frozenset(("SeedGenerator",)), "random"),
    _placed(POLICIES, "dtype_policies", "mixed_precision"),
)

ACTIVATIONS = frozenset((
    "celu", "elu", "exponential", "gelu", "glu", "hard_shrink", "hard_sigmoid", "hard_silu", "hard_swish", "hard_tanh",
    "leaky_relu", "linear", "log_sigmoid", "log_softmax", "mish", "relu", "relu6", "selu", "sigmoid", "silu",
    "soft_shrink", "softmax", "softplus", "softsign", "sparse_plus", "sparse_sigmoid", "sparsemax", "squareplus",
    "swish", "tanh", "tanh_shrink", "threshold",
))  # fmt: skip

_RECORDED = "is a TensorFlow function recorded by Keras 2; save the model with a layer of Keras in its place"
# What is refused for a reason that is worth saying.
REASONS: Mapping[str, str] = {
    "Lambda": "holds Python code of its own, which is never run",
    "function": "refers to a Python function, which is never looked up",
    "__lambda__": "holds Python code of its own, which is never run",
    "__typespec__": "describes a TensorFlow type, which no layer's settings need",
    "TFSMLayer": "loads a TensorFlow program from a path of its own choice",
    "TorchModuleWrapper": "unpickles a PyTorch module, which runs code",
    "JaxLayer": "refers to JAX functions, which are never run",
    "FlaxLayer": "refers to a Flax module, which is never run",
    "TFOpLambda": _RECORDED,
    "SlicingOpLambda": _RECORDED,
    "TensorFlowOpLayer": _RECORDED,
    "StringLookup": "reads a vocabulary from a file of its own choice",
    "IntegerLookup": "reads a vocabulary from a file of its own choice",
    "TextVectorization": "reads a vocabulary from a file of its own choice",
}
