"""One-hot look-ups: a table's row as crossbars hold it, against a Linear fed one-hot vectors and against cells by hand."""

import math
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from tests.hw.hand_built import wide
from tests.hw.networks import histories, recommender, seeded
from xbar.hw import (
    Arrivals,
    Chip,
    ConfigurationError,
    ParameterError,
    TraceError,
    convert,
    load_chip,
    place,
    simulate,
    trace,
)
from xbar.hw.analog import (
    AnalogEmbedding,
    analog_layers,
    compensate_drift,
    layer_quality,
    program,
    read_energies,
    recalibrate,
    set_time,
)
from xbar.hw.cost.laws import LAWS
from xbar.hw.events.ledger import Ledger
from xbar.hw.events.vector_operation import VectorOperations

NO_ERRORS = {"programming_sigma": 0.0, "read_noise_sigma": 0.0}


def tables(rows: int, width: int) -> tuple[nn.Module, nn.Module, Tensor]:
    """An Embedding, the Linear of its transposed table without bias, and every row once in mixed order."""
    table, linear = seeded(None, nn.Embedding(rows, width)), nn.Sequential(nn.Linear(rows, width, bias=False))
    with torch.no_grad():
        linear[0].weight.copy_(table[0].weight.T)  # type: ignore[union-attr, operator]
    return table, linear, torch.randperm(rows, generator=torch.Generator().manual_seed(7))


def both(chip: Chip, rows: int = 300, width: int = 20, seed: int = 3) -> tuple[Tensor, Tensor, Tensor]:
    """What the Embedding gives on the chip, what the Linear gives of one-hot vectors, and the table's own rows."""
    table, linear, order = tables(rows, width)
    one_hot = nn.functional.one_hot(order, rows).float()
    with torch.no_grad():
        looked_up, multiplied = convert(table, chip, order, seed)(order), convert(linear, chip, one_hot, seed)(one_hot)
    return looked_up, multiplied, table(order).detach()


ENCODINGS: dict[str, dict[str, Any]] = {
    "pairs": {},
    "pairs apart": {"scheme": "separate", "subtraction": "digital"},
    "pairs of two arrays before the ADC": {"scheme": "separate", "subtraction": "analog"},
    "offset before the ADC": {"scheme": "offset", "subtraction": "digital", "offset_reference": "analog"},
    "pairs after the ADC": {"subtraction": "digital"},
    "pairs on one bitline": {"subtraction": "shared_bitline"},
    "both cells of a pair": {"pair": "two_sided"},
    "offset": {"scheme": "offset", "subtraction": "digital"},
    "offset counted": {"scheme": "offset", "subtraction": "digital", "offset_reference": "digital"},
    "flipped columns": {"scheme": "offset", "subtraction": "digital", "flipped_columns": True},
    "g_min through the ADC": {"scheme": "separate", "subtraction": "digital", "g_min_current": "converted"},
    "two slices": {"cell_bits": 2},
    "a scale a column": {"per": "column"},
}


@pytest.mark.parametrize("encoding", ENCODINGS)
class TestAsALinearOfOneHotVectors:
    def test_lossless_and_ideal(self, edge: Chip, encoding: str) -> None:
        """The weights as mapped, to float rounding; on the ADCs' integers as by the fused product."""
        chip = edge.with_changes(device=NO_ERRORS, weights=ENCODINGS[encoding], component={"adc": {"range": "level", "bits": 16}})
        looked_up, multiplied, table = both(chip)
        assert torch.allclose(looked_up, multiplied, rtol=1e-6, atol=0)
        step = table.abs().max() / 15
        assert (looked_up - table).abs().max() <= step / 2 * (1 + 1e-6)
        model, _, order = tables(300, 20)
        converted = convert(model, chip, order, seed=3)
        (layer,) = analog_layers(converted).values()
        layer.matrix.fuse_when_exact = False
        with torch.no_grad():
            assert torch.allclose(converted(order), looked_up, rtol=1e-6, atol=0)

    @pytest.mark.parametrize("device", [{"g_min": 2e-6}, {"g_min": 2e-6, "stuck_on_rate": 0.02}])
    def test_the_same_errors_of_the_same_seed(self, edge: Chip, encoding: str, device: dict[str, float]) -> None:
        """Same cells, same errors; an ideal ADC, so that a product's eight slices lose nothing that one keeps."""
        chip = edge.with_changes(
            device=device | {"programming_sigma": 0.05, "read_noise_sigma": 0.0}, weights=ENCODINGS[encoding],
            component={"adc": {"range": "ideal"}},
        )  # fmt: skip
        looked_up, multiplied, table = both(chip)
        assert torch.allclose(looked_up, multiplied, rtol=1e-4, atol=1e-4 * float(table.abs().max()))
        assert (looked_up - table).square().mean().sqrt() > 0.01 * table.abs().max(), "there are errors"


@pytest.mark.parametrize(
    "changes",
    [
        {"wires": {"wordline": 2.0, "bitline": 2.0, "driver": 50.0, "sense": 10.0}},
        {"device": {"iv": "sinh", "iv_v0": 0.2}},
        {"wires": {"wordline": 2.0, "bitline": 2.0, "topology": "gate_selected"}},
        {"component": {"adc": {"range": "ideal", "gain_sigma": 0.05}}},
    ],
    ids=["wires", "cells that are not linear", "wires and gates", "gains of ADCs"],
)
def test_currents_are_those_of_the_row_driven_alone(edge: Chip, changes: dict[str, dict[str, Any]]) -> None:
    """All other wordlines at 0 V; inputs of the product in one slice, so that both see the same voltage."""
    device = changes.pop("device", {}) | {"programming_sigma": 0.05, "read_noise_sigma": 0.0, "g_min": 2e-6}
    component = {"dac": {"bits": 8}, "adc": {"range": "ideal"}} | changes.pop("component", {})
    looked_up, multiplied, table = both(edge.with_changes(device=device, component=component, **changes), 150, 6)
    assert torch.allclose(looked_up, multiplied, rtol=1e-4, atol=1e-4 * float(table.abs().max()))


def test_adcs_round_and_clip_what_the_cells_conduct(edge: Chip) -> None:
    """Codes in numpy from the cells' own conductances: round half to even, clip, of the pairs' difference."""
    chip = edge.with_changes(
        device={"read_noise_sigma": 0.0}, component={"adc": {"bits": 3, "range": "calibrated", "percentile": 0.9}}
    )
    table, _, order = tables(200, 6)
    converted = convert(table, chip, order, seed=1)
    matrix = analog_layers(converted)["0"].matrix
    cells = matrix.array.conductances()[0, 0].numpy()  # (row_tiles, rows, columns)
    level = chip.device.g_max / 15
    current = (cells[..., 0::2] - cells[..., 1::2]) / level
    step = matrix.channel.adc.step.numpy()[0]
    codes = np.clip(np.round(current / step), -3, 3)
    held = (codes * step).reshape(-1, 6)[order.numpy()] * float(table[0].weight.detach().abs().max()) / 15
    with torch.no_grad():
        assert converted(order).numpy() == pytest.approx(held, abs=1e-6)
    assert (codes == 3).any(), "the range clips"
    assert float(step[0]) * 3 == pytest.approx(float(np.quantile(np.abs(levels_of(matrix)), 0.9, method="inverted_cdf")))


def levels_of(matrix: Any) -> np.ndarray:
    """Levels that the pairs of a table stand for, over all its rows."""
    levels = matrix.mapped.levels[0].flatten(0, 1)[: matrix.geometry.inputs]  # (rows, outputs, slices, polarities)
    return (levels[..., 0] - levels[..., 1]).numpy()


@pytest.mark.parametrize(("changes", "largest"), [
    ({}, 15), ({"scheme": "offset", "subtraction": "digital", "offset_reference": "digital"}, 15),
    ({"scheme": "offset", "subtraction": "digital", "offset_reference": "digital", "flipped_columns": True}, 15),
])  # fmt: skip
def test_a_range_over_the_largest_current_is_that_of_one_row(edge: Chip, changes: dict[str, Any], largest: int) -> None:
    """A full cell at the highest DAC code, not a column of them."""
    chip = edge.with_changes(weights=changes, component={"dac": {"bits": 2}, "adc": {"range": "full_scale"}})
    table, _, order = tables(200, 6)
    matrix = analog_layers(convert(table, chip, order, seed=1))["0"].matrix
    assert (matrix.full_scale == largest * 3).all()


def test_each_look_up_has_read_noise_of_its_own(edge: Chip) -> None:
    """Variance of 4,000 reads of each of three rows against the cells' own, both cells of a pair."""
    chip = edge.with_changes(
        device={"programming_sigma": 0.0, "read_noise_sigma": 0.05},
        component={"dac": {"bits": 2}, "adc": {"range": "ideal"}},
    )
    table, _, order = tables(200, 6)
    converted = convert(table, chip, order, seed=1)
    matrix, reads = analog_layers(converted)["0"].matrix, 4000
    rows = torch.tensor([5, 130, 199]).repeat(reads)
    with torch.no_grad():
        seen = converted(rows).double().unflatten(0, (reads, 3))
    cells = matrix.array.conductances()[0, 0].flatten(0, 1)[[5, 130, 128 + 71]]  # (rows, columns)
    scale = float(table[0].weight.detach().abs().max()) / chip.device.g_max
    expected = chip.device.read_variance(cells).unflatten(-1, (-1, 2)).sum(-1) * scale**2
    some = expected > 0  # cells at 0 S have no noise
    assert some.sum() > 12
    assert torch.allclose(seen.var(0)[some], expected[some], rtol=6 * (2 / reads) ** 0.5)
    correlation = np.corrcoef(seen[:, 0, 0], seen[:, 1, 0])[0, 1]
    assert abs(correlation) < 4 / reads**0.5


def test_only_the_rows_own_adcs_add_their_offset(edge: Chip) -> None:
    """An empty table: what is left is one offset for each output and row tile; three of 300 rows."""
    chip = edge.with_changes(device=NO_ERRORS, component={"adc": {"offset_sigma": 3.0, "range": "level"}})
    model = nn.Sequential(nn.Embedding(300, 4))
    nn.init.zeros_(model[0].weight)  # type: ignore[arg-type]
    seen = convert(model, chip, torch.arange(300), seed=0)(torch.arange(300)).detach()
    for part in (seen[:128], seen[128:256], seen[256:]):
        assert (part == part[0]).all()
    assert len(seen.unique(dim=0)) == 3


class TestAsALayer:
    def test_instances_hold_a_batch_one_after_the_other(self, edge: Chip) -> None:
        model, (indices, features) = recommender()
        converted = convert(model, edge, (indices, features), seed=4)
        with torch.no_grad():
            alone = []
            for seed in (4, 9):
                program(converted, seed)
                alone.append(converted(indices, features))
            program(converted, [4, 9])
            together = converted(indices.repeat(2, 1), features.repeat(2, 1))
        assert torch.equal(together, torch.cat(alone))
        assert not torch.equal(*alone)

    def test_drift_is_compensated_and_ranges_follow(self, edge: Chip) -> None:
        drift = {"drift_exponent": 0.1, "reference_time": 1.0} | NO_ERRORS
        chip = edge.with_changes(device=drift, component={"adc": {"bits": 12, "finest": "any", "range": "calibrated"}})
        table, _, order = tables(200, 6)
        converted = convert(table, chip, order, seed=0)
        with torch.no_grad():
            fresh = converted(order)
            set_time(converted, 1e6)
            aged = converted(order)
            (factor,) = compensate_drift(converted)["0"].tolist()
            compensated = converted(order)
        law = (1 + 1e6) ** 0.1
        assert torch.allclose(fresh / law, aged, atol=2e-3 * float(fresh.abs().max()))
        assert factor == pytest.approx(law, rel=0.01)
        assert torch.allclose(compensated, fresh, atol=0.01 * float(fresh.abs().max()))
        before = analog_layers(converted)["0"].matrix.full_scale.clone()
        recalibrate(converted)
        assert torch.allclose(analog_layers(converted)["0"].matrix.full_scale * law, before, rtol=0.01)

    def test_quality_is_of_the_rows_looked_up(self, edge: Chip) -> None:
        """Independent errors of sigma g_max at both cells of a pair, over the mean square of the values."""
        chip = edge.with_changes(
            device={"g_min": 20e-6, "g_max": 45e-6, "programming_sigma": 0.04, "read_noise_sigma": 0.0},
            component={"adc": {"range": "ideal"}},
        )
        table, _, order = tables(2000, 8)
        found = layer_quality(convert(table, chip, order, seed=0), order)["0"]
        level = table[0].weight.detach().abs().max() / 15
        signal = (table[0].weight.detach() / level).round().square().mean()
        expected = 10 * math.log10(float(signal) / (2 * (0.04 * 15) ** 2))
        assert found.signal_to_noise_dB == pytest.approx(expected, abs=0.2)
        assert (found.saturated_share, found.clipped_input_share) == (0.0, 0.0)

    @pytest.mark.parametrize("wires", [{}, {"wordline": 1e-6}])
    def test_a_read_costs_what_one_wordline_conducts(self, edge: Chip, wires: dict[str, float]) -> None:
        """V² G t in every cell at full scale of one polarity, one slice; wires of next to nothing cost no other."""
        model = nn.Sequential(nn.Embedding(200, 6))
        nn.init.constant_(model[0].weight, 0.7)  # type: ignore[arg-type]
        chip = edge.with_changes(wires=wires)
        (energy,) = read_energies(convert(model, chip, torch.arange(200), seed=0)).values()
        assert energy == pytest.approx(6 * 0.2**2 * 25e-6 * 100e-9, rel=1e-5)

    def test_state_is_saved_and_loaded(self, edge: Chip) -> None:
        table, _, order = tables(200, 6)
        one, other = convert(table, edge, order, seed=1), convert(table, edge, order, seed=2)
        other.load_state_dict(one.state_dict())
        with torch.no_grad():
            assert torch.equal(one(order), other(order))

    def test_gradients_reach_the_rows_looked_up_and_no_others(self, edge: Chip) -> None:
        """The slope of a sum of looked-up values is how often each row was, straight through rounding and errors."""
        chip = edge.with_changes(component={"adc": {"range": "ideal"}}, device={"read_noise_sigma": 0.0})
        table, _, order = tables(200, 6)
        converted = convert(table, chip, order, seed=1).train()
        converted(torch.tensor([3, 150, 150])).sum().backward()
        gradient = analog_layers(converted)["0"].matrix.weight.grad
        assert gradient is not None
        inside = table[0].weight.abs() < table[0].weight.abs().max()  # the range itself follows the largest weight
        expected = torch.zeros(200, 6)
        expected[3], expected[150] = 1.0, 2.0
        assert torch.allclose(gradient[0].T[inside], expected[inside], atol=1e-5)

    def test_rows_that_a_table_does_not_have(self, edge: Chip) -> None:
        converted = convert(nn.Sequential(nn.Embedding(9, 2)), edge, torch.arange(9), seed=0)
        with pytest.raises(ParameterError, match="layer 0: rows must be from 0 to 8, got 3 to 9"):
            converted(torch.tensor([3, 9]))
        with pytest.raises(ParameterError, match="layer 0: rows must be whole numbers"):
            converted(torch.tensor([3.0]))
        (layer,) = analog_layers(converted).values()
        assert isinstance(layer, AnalogEmbedding)
        with pytest.raises(ParameterError, match="must reach every row tile"):
            layer.matrix.calibrate(torch.zeros(1, 0, dtype=torch.long))


class TestTrace:
    def test_flows_needs_and_counts_by_hand(self) -> None:
        """Two indices and five features in; 12, 24 and 5 values to the layer that reads the concatenation."""
        network = trace(*recommender())
        flows = {(f.source, f.target, f.addend): f.values for f in network.flows}
        assert flows == {
            ("", "user", False): 1, ("", "item", False): 1, ("user", "hidden", False): 12, ("item", "hidden", False): 24,
            ("", "hidden", False): 5, ("hidden", "out", False): 8,
        }  # fmt: skip
        user, item, hidden, _ = network.layers
        assert [(x.lookup, x.inputs, x.outputs, x.vectors) for x in (user, item, hidden)] == [
            (True, 300, 12, 1), (True, 140, 24, 1), (False, 41, 8, 1),
        ]  # fmt: skip
        assert {name: need.tolist() for name, need in hidden.needs.items()} == {"user": [1], "item": [1]}
        assert user.needs == item.needs == {}
        assert (network.input_values, network.index_bits) == (7, (9, 9))
        assert network.consumers == {"user": ("hidden",), "item": ("hidden",), "hidden": ("out",), "out": ()}

    def test_each_look_up_of_a_history_is_a_vector(self) -> None:
        """The layer on row k of four waits for k look-ups, the mean for all."""
        network = trace(*histories())
        table, each, out = network.layers
        assert (table.vectors, each.vectors, out.vectors) == (4, 4, 1)
        assert table.reads.tolist() == [[0], [1], [2], [3]]
        assert each.needs["table"].tolist() == [1, 2, 3, 4]
        assert out.needs["each"].tolist() == [4]
        assert network.index_bits == (10, 10, 10, 10)
        assert (table.weights, table.operations) == (700 * 70, 0)
        assert network.operations == 2 * (4 * 70 * 6 + 6 * 3)

    @pytest.mark.parametrize(("rows", "bits"), [(1, 1), (2, 1), (3, 2), (256, 8), (257, 9)])
    def test_bits_that_tell_rows_apart(self, rows: int, bits: int) -> None:
        (layer,) = trace(nn.Sequential(nn.Embedding(rows, 3)), torch.zeros(2, dtype=torch.long)).layers
        assert layer.index_bits == bits

    def test_one_example_or_a_tuple_of_one(self) -> None:
        model = seeded(None, nn.Linear(4, 2))
        x = torch.rand(3, 4)
        one, other = trace(model, x), trace(model, (x,))
        assert (one.input_values, one.output_values) == (other.input_values, other.output_values) == (4, 2)

    def test_what_cannot_be_looked_up(self, edge: Chip) -> None:
        class Chosen(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.table = nn.Embedding(4, 3)

            def forward(self, x: Tensor) -> Tensor:
                return self.table(x).gather(2, x.unsqueeze(-1))

        rows = torch.zeros(2, 3, dtype=torch.long)
        model, (indices, features) = recommender()
        for wrong, example, said in (
            (nn.Sequential(nn.Embedding(4, 2)), torch.rand(2, 3), "to have one of the following scalar types: Long, Int"),
            (nn.Sequential(nn.Embedding(4, 2)), rows + 4, "layer 0: look-ups must be from 0 to 3, got 4 to 4"),
            (nn.Sequential(nn.Embedding(4, 2, max_norm=1.0)), rows, "layer 0: an Embedding with max_norm"),
            (nn.Sequential(nn.Embedding(4, 2)), rows[:, :0], r"must be \(batch, ...\), one sample or more, got \(2, 0\)"),
            (nn.Sequential(nn.EmbeddingBag(4, 2)), rows[:, 0], "an EmbeddingBag takes"),
            (Chosen(), rows, "gather: where it reads depends on values"),
            (model, indices, r"the model has 2 inputs \(indices, features\), got 1 tensors"),
            (model, (indices, features[:2]), "inputs must be of one batch"),
        ):
            with pytest.raises(TraceError, match=said):
                trace(wrong, example)
        with pytest.raises(TraceError, match="look-ups must be from 0 to 299"):
            convert(model, edge, (indices + 300, features), seed=0)


class TestOnTheChip:
    @staticmethod
    def run(chip: Chip, rows: int, width: int, look_ups: int = 1, requests: int = 1, **options: Any) -> Ledger:
        model = seeded(None, nn.Embedding(rows, width))
        network = trace(model, torch.zeros(2, look_ups, dtype=torch.long))
        return simulate(place(network, wide(chip), None), Arrivals.batch(requests), off_chip_io=False, **options)

    @pytest.mark.parametrize("resolution", ["group", "crossbar"])
    def test_a_look_up_on_isaac_by_hand(self, isaac: Chip, resolution: Any) -> None:
        """300 x 12: three row tiles of one crossbar, 12 x 8 columns; one is read once and converted on its own ADC."""
        ledger = self.run(isaac, 300, 12, resolution=resolution)
        load = 1 / 1.2e9  # an index of 9 bits over the 256-bit port
        compute = 100e-9 + 96 / 1.28e9
        drain = 12 / 1.2e9
        assert ledger.latency[0] == pytest.approx(load + compute + drain, abs=1e-15)
        row = ledger.energy.loc["0"]
        assert row["dac"] == pytest.approx(4e-3 / (1024 * 1e7))
        idle = 2 * isaac.device.g_min / (isaac.device.g_min + isaac.device.g_max)  # a bitline without weights, of one with
        # the table's read is of 64 driven wordlines, half of them, and a look-up's of one
        assert row["crossbar"] == pytest.approx(2.4e-3 / 8 * 100e-9 / 64 * (96 + 32 * idle) / 128, rel=1e-9, abs=0)
        assert row["adc"] == pytest.approx(96 * 16e-3 / (8 * 1.28e9))
        leaks = LAWS["edram"](capacity=64 * 8192, width=256, banks=4, node=32e-9).leakage
        assert row["buffer"] == pytest.approx((9 + 12 * 16) * (20.7e-3 - leaks) / 138.24e9)
        assert ledger.actions.loc["0", "sample_hold"] == 96
        assert ledger.actions.loc["0", "accumulator"] == 12, "no partial sums of other row tiles"

    @pytest.mark.parametrize("activity", [0.1, 0.5, 1.0])
    @pytest.mark.parametrize(("bits", "fed_at"), [(1, None), (8, None), (2, 0.5)])
    def test_a_look_up_takes_one_wordline_at_the_highest_code(self, bits: int, fed_at: float | None, activity: float) -> None:
        """V² G t of one wordline's cells, or V_fed V G t, whatever the inputs of other layers are."""
        chip = load_chip("edge").with_changes(
            component={"dac": {"bits": bits}, "crossbar": {"fed_at": fed_at}}, inputs={"activity": activity}
        )
        ledger = self.run(chip, 300, 12)
        device, design = chip.device, chip.array_design
        bitlines, middle = 12 * chip.geometry(12, 300).columns_per_output, (device.g_min + device.g_max) / 2
        conductance = bitlines * middle + (128 - bitlines) * device.g_min
        voltage = device.read_voltage
        assert voltage is not None
        expected = conductance * voltage * (fed_at or voltage) * design.array_read
        assert ledger.energy.loc["0", "crossbar"] == pytest.approx(expected, rel=1e-9)

    def test_a_look_up_s_pulses_are_those_of_the_highest_code(self) -> None:
        """jia2020, of SRAM cells: a drive of its law at the highest code."""
        chip = load_chip("jia2020")
        ledger = self.run(chip, 300, 12)
        use = {"bits": chip.component.dac.bits, "bitlines": chip.structure.bitlines, "node": chip.technology.node,
               "voltage": chip.technology.supply, "cell_bits": chip.cell_bits, "capacitors": 1}  # fmt: skip
        law, mean = (LAWS["pulses"](**use, activity=share, mean_code=share).energy for share in (1.0, 0.5))
        drives = ledger.actions.loc["0", "dac"]
        assert ledger.energy.loc["0", "dac"] == pytest.approx(drives * chip.costs["dac"].energy_per_action * law / mean)

    def test_a_look_up_where_inputs_are_all_0(self, edge: Chip) -> None:
        with pytest.raises(ConfigurationError, match=r"inputs\.activity = 0: component\.crossbar then takes nothing on the mean"):
            self.run(edge.with_changes(inputs={"activity": 0.0}), 300, 12)

    @pytest.mark.parametrize("resolution", ["group", "crossbar"])
    def test_an_index_from_outside_is_written_before_it_is_read(self, isaac: Chip, resolution: Any) -> None:
        """One word through the buffer's port each time."""
        network = trace(seeded(None, nn.Embedding(300, 12)), torch.zeros(2, dtype=torch.long))
        timeline = simulate(place(network, wide(isaac)), Arrivals.batch(1), resolution=resolution).timeline
        load = timeline[timeline["stage"] == "load"].iloc[0]
        assert load["end_s"] - load["start_s"] == pytest.approx(2 / 1.2e9, abs=2e-15)

    @pytest.mark.parametrize("resolution", ["group", "crossbar"])
    def test_one_slice_needs_no_analog_accumulation(self, edge: Chip, resolution: Any) -> None:
        chips = edge, edge.with_changes(component={"adc": {"conversion": "after_accumulation"}})
        one, other = (self.run(chip, 300, 12, look_ups=3, resolution=resolution) for chip in chips)
        assert one.latency == pytest.approx(other.latency, abs=0)
        assert one.actions.equals(other.actions)

    @pytest.mark.parametrize(("width", "resolution"), [(12, "group"), (12, "crossbar"), (64, "group"), (64, "crossbar")])
    def test_look_ups_follow_at_the_slowest_stage(self, edge: Chip, width: int, resolution: Any) -> None:
        """One slice each: a read of 100 ns, or 64 results drained in 53 ns, conversions in 50 ns behind it."""
        ledger = self.run(edge, 300, width, requests=20, resolution=resolution)
        assert np.diff(ledger.finish_fs)[5:].tolist() == [pytest.approx(100e6, abs=1)] * 14

    @pytest.mark.parametrize("resolution", ["group", "crossbar"])
    def test_many_results_queue_at_the_output_stage(self, edge: Chip, resolution: Any) -> None:
        """256 outputs take four crossbars and 256 / 1.2 GHz to drain, longer than the 200 ns of their conversions."""
        ledger = self.run(edge, 100, 256, requests=20, resolution=resolution)
        assert (np.diff(ledger.finish_fs)[5:] * 1e-15).tolist() == [pytest.approx(256 / 1.2e9, abs=1e-14)] * 14

    def test_the_links_carry_an_index_and_the_features(self, edge: Chip) -> None:
        """Two indices of 9 bits and five features of 8; the result of 8 bits."""
        network = trace(*recommender())
        ledger = simulate(place(network, edge), Arrivals.batch(3))
        assert ledger.actions["link"].tolist()[0] == 3 * (2 * 9 + 5 * 8)
        assert ledger.actions["link"].tolist()[-1] == 3 * 8

    @pytest.mark.parametrize(
        ("subtraction", "rows"), [("analog", [2048, 952, 0]), ("shared_bitline", [1024, 1024, 952])]
    )
    def test_a_table_is_reached_by_the_share_of_its_rows(self, edge: Chip, subtraction: str, rows: list[int]) -> None:
        """3,000 rows, 16 crossbars a tile, of 128 rows or, where pairs take two wordlines, 64: an index, of 12 bits, goes to one tile."""
        network = trace(seeded(None, nn.Embedding(3000, 64)), torch.zeros(2, dtype=torch.long))
        placement = place(network, edge.with_changes(weights={"subtraction": subtraction}))
        operations = VectorOperations(placement, off_chip_io=True)
        arriving = operations.destinations.arriving("")
        assert [arriving[tile][0,] for tile in range(3) if rows[tile]] == pytest.approx([12 * share / 3000 for share in rows if share])
        assert len(arriving) == sum(share > 0 for share in rows)

    def test_rows_leave_from_the_tile_that_holds_them(self, edge: Chip) -> None:
        """What is added to a row goes to the row's tile, by the share of rows; a look-up loads and drains on its own."""
        class Sum(nn.Module):
            def __init__(self) -> None:
                super().__init__()
                self.first, self.second = nn.Embedding(20, 64), nn.Embedding(3000, 64)

            def forward(self, rows: Tensor) -> Tensor:
                return self.first(rows[:, 0]) + self.second(rows[:, 1])

        network = trace(Sum(), torch.zeros(2, 2, dtype=torch.long))
        placement = place(network, edge)
        (copy,) = placement.copies["second"]
        assert copy.first_core == 1, "the first table has a core of its own, a quarter of the tile"
        operations = VectorOperations(placement, off_chip_io=True)
        (addend,) = (flow for flow in network.flows if flow.addend)
        assert (addend.source, addend.target, addend.values) == ("first", "second", 64)
        assert operations.destinations.arriving("first") == {
            tile: {(0,): pytest.approx(64 * 8 * share / 3000)} for tile, share in enumerate([12 * 128, 3000 - 12 * 128])
        }

    def test_a_large_tables_look_ups_use_the_ports_of_one_tile(self, edge: Chip) -> None:
        network = trace(seeded(None, nn.Embedding(3000, 64)), torch.zeros(2, dtype=torch.long))
        placement = place(network, edge)
        operations = VectorOperations(placement, off_chip_io=True)
        (copy,) = placement.copies["0"]
        reached = [sorted(operations.of(copy, row_tile).load_ports) for row_tile in operations.row_tiles(network.layers[0])]
        assert reached == [[0]] * 16 + [[1]] * 8
        drained = [sorted(operations.of(copy, row_tile).output_ports) for row_tile in (0, 23)]
        assert drained == [[0], [1]]

    def test_copies_take_look_ups_in_turn(self, edge: Chip) -> None:
        """A mapping of replication gives a table two copies, and balancing one for each of its look-ups at most."""
        network = trace(*histories())
        placement = place(network, edge, {"table": 2})
        assert [len(copies) for copies in placement.copies.values()] == [2, 1, 1]
        timeline = simulate(placement, Arrivals.batch(1), off_chip_io=False).timeline
        computed = timeline[(timeline["layer"] == "table") & (timeline["stage"] == "compute")]
        assert computed["copy"].value_counts().to_dict() == {0: 2, 1: 2}
        wide = edge.with_changes(structure={"tiles": 40})
        assert len(place(network, wide).copies["table"]) <= 4

    def test_rows_not_given_are_drawn_alike_often(self, edge: Chip) -> None:
        """Of 2,000 look-ups in 300 rows on three row tiles, shares 128, 128 and 44 of 300 within 4 standard errors."""
        ledger = self.run(edge, 300, 4, requests=2000)
        computing = [k for k, activity in enumerate(ledger.activities) if activity.stage == "compute"]
        counts = np.array([(ledger.activity == k).sum() for k in computing])
        expected = np.array([128, 128, 44]) / 300
        assert (abs(counts / 2000 - expected) < 4 * (expected * (1 - expected) / 2000) ** 0.5).all()


@pytest.mark.parametrize("network", [recommender, histories])
def test_networks_on_isaac_compute_as_in_float(isaac: Chip, network) -> None:  # type: ignore[no-untyped-def]
    model, example = network()
    given = example if isinstance(example, tuple) else (example,)
    converted = convert(model, isaac, example, seed=0)
    with torch.no_grad():
        assert torch.allclose(converted(*given), model(*given), atol=1e-3)
    assert all(quality.signal_to_noise_dB > 60 for quality in layer_quality(converted, example).values())
