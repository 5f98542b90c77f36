"""A model from its configuration alone, as any Keras from 2.2 on wrote it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from copy import deepcopy
from typing import Any

from deepfake_edge.converters.failures import told
from deepfake_edge.converters.keras_models.modern import modern_config
from deepfake_edge.errors import ConversionError
from deepfake_edge.training import workshop


def build_model(config: Mapping[str, Any]) -> Any:
    """Build the model that a configuration describes; its weights are yet to come.

    Args:
        config: already checked (see `allowed`): a Keras 3 configuration or Keras 2's `model_config`.
    Returns:
        A Keras functional or Sequential model with all its variables made, and with its layers in the order in
        which the file lists them: the order that weights are stored in.
    Raises:
        ConversionError: Keras cannot build it, or knows too little of its input.
    """
    config = modern_config(config)
    keras = workshop.keras()
    with told("Keras cannot rebuild the model"), workshop.quiet():
        model = keras.saving.deserialize_keras_object(deepcopy(config), safe_mode=True)
    if not isinstance(model, keras.Model):
        raise ConversionError(f"the file holds a {type(model).__name__}, not a model")
    if not model.built or not model.inputs:
        raise ConversionError(
            "the model does not say what it takes: add keras.Input((frames, side, side, 3)) as its first layer, "
            "build it, load its weights and save it again"
        )
    moved = [f"{wanted}: {found} stands in its place" for wanted, found in _moved(model, config)]
    if moved:
        raise ConversionError("Keras puts the layers in another order than their weights were stored in:", moved)
    return model


def _moved(model: Any, config: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    layers = {layer.name: layer for layer in model.layers if type(layer).__name__ != "InputLayer"}
    listed = [item for item in config["config"]["layers"] if item["config"].get("name") in layers]
    for item, layer in zip(listed, layers.values(), strict=True):
        if item["config"]["name"] != layer.name:
            yield item["config"]["name"], layer.name
        inner = item["config"].get("layer") or {}
        if "layers" in item["config"]:
            yield from _moved(layer, item)
        elif "layers" in inner.get("config", {}):
            yield from _moved(layer.layer, inner)
