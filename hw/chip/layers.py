"""What a chip file may set for single layers of a network: `[layer."conv1"]` tables, by the layer's name.

A layer's settings stand in for the chip's own where that layer is concerned: `weights.bits = ...` below `[layer."conv1"]` is what
`[weights] bits = ...` would be on a chip that held that layer alone. What crossbars are, and how many of what there is, is the
chip's: areas, static power and the ADCs themselves, of which a layer may use fewer bits.
"""

from collections.abc import Collection, Mapping
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, create_model

from xbar.hw.array.converter import Adc
from xbar.hw.array.design import Inputs
from xbar.hw.array.geometry import WeightEncoding
from xbar.hw.errors import UnknownLayerError, did_you_mean

ADC_KEYS = ("bits", "range", "range_per", "percentile", "lower_percentile", "full_scale", "lower", "finest", "codes", "full_scale_voltage")


def _some_of(model: type[BaseModel], names: tuple[str, ...]) -> type[BaseModel]:
    """The fields of that name, with their units and ranges, each of which may be left out."""
    fields: dict[str, Any] = {}
    for name in names:
        field = model.model_fields[name]
        kind: Any = field.annotation | None  # type: ignore[operator]
        fields[name] = (Annotated[(kind, *field.metadata)] if field.metadata else kind, None)
    return create_model(f"Layer{model.__name__}", __config__=ConfigDict(extra="forbid", frozen=True), **fields)


LayerWeights = _some_of(WeightEncoding, ("bits", "cell_bits", "bias_rows"))
LayerInputs = _some_of(Inputs, ("bits",))
LayerAdc = _some_of(Adc, ADC_KEYS)


class LayerComponents(BaseModel):
    """Converters of a layer's columns."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    adc: LayerAdc | None = None  # type: ignore[valid-type]


class LayerSettings(BaseModel):
    """Settings of one layer; what is left out is the chip's own."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    weights: LayerWeights | None = None  # type: ignore[valid-type]
    inputs: LayerInputs | None = None  # type: ignore[valid-type]
    component: LayerComponents | None = None

    def changes(self) -> dict[str, dict[str, Any]]:
        """What is set, as `Chip.with_changes` takes it."""
        return self.model_dump(exclude_none=True)


LAYER_KEYS = ("weights.bits", "weights.cell_bits", "weights.bias_rows", "inputs.bits", *(f"component.adc.{name}" for name in ADC_KEYS))


def layer_key(key: str) -> tuple[str, str] | None:
    """(layer, key of its settings) of a dotted name such as `layer."conv1".component.adc.bits`, whatever dots the layer's own
    name has, in quotes or not; None of other names."""
    if not key.startswith("layer."):
        return None
    found = next((each for each in LAYER_KEYS if key.endswith("." + each)), None)
    name = "" if found is None else key[len("layer.") : -len(found) - 1].strip('"')
    return (name, found) if found and name else None


def check_layers(chip_name: str, settings: Collection[str], layers: Collection[str]) -> None:
    """Raise UnknownLayerError where a chip has settings for layers that a network does not have on it."""
    unknown = [name for name in settings if name not in layers]
    if unknown:
        hint = "".join(did_you_mean(name, list(layers)) for name in unknown[:1])
        raise UnknownLayerError(
            f"chip {chip_name} has settings for {', '.join(map(repr, unknown))}, which the network has no layer of that name "
            f"for{hint}; its layers: {', '.join(layers)}"
        )


def put(raw: dict[str, Any], layer: str, key: str) -> tuple[dict[str, Any], str]:
    """The table of a raw chip file, begun where it is missing, and the last part of a layer's key in it."""
    *parents, leaf = key.split(".")
    where = raw
    for parent in ("layer", layer, *parents):
        inner = where.setdefault(parent, {})
        if not isinstance(inner, dict):
            return {}, leaf  # reported with everything else that is wrong with the file
        where = inner
    return where, leaf


def without(settings: Mapping[str, LayerSettings], *sections: str) -> dict[str, dict[str, Any]]:
    """The settings of all layers but for those sections."""
    kept = {name: {k: v for k, v in each.changes().items() if k not in sections} for name, each in settings.items()}
    return {name: each for name, each in kept.items() if each}
