"""Converters against transfer curves written out in numpy, costs against forms worked out by hand, and conversions
counted in the functional model, the events and the geometry."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from tests.hw.networks import residual, small_convolutional
from tests.hw.test_crossbar import crossbar_matrix, small_chip
from tests.hw.test_mapping import SCHEMES
from xbar.hw import Arrivals, Chip, ConfigurationError, ParameterError, convert, load_chip, place, simulate, trace
from xbar.hw.analog import analog_layers
from xbar.hw.array.channel import adc_errors
from xbar.hw.array.converter import Adc, Dac, lossless_bits
from xbar.hw.array.counts import ActionCounts, conversions_per_slice, drives_per_slice
from xbar.hw.array.crossbar import CrossbarMatrix
from xbar.hw.array.mapping import read_integers
from xbar.hw.cost.laws import LAWS
from xbar.hw.errors import RangeWarning

ISAAC, EDGE = load_chip("isaac"), load_chip("edge")
CHIPS = {
    "twos_complement": ISAAC, "two_pass": EDGE,
    "bipolar": EDGE.with_changes(inputs={"signed": "bipolar"}),
    "pairs of two arrays": EDGE.with_changes(weights={"scheme": "separate", "subtraction": "analog"}),
    "offset before the ADC": EDGE.with_changes(weights={"scheme": "offset", "offset_reference": "analog"}),
    "bipolar, wide driver": EDGE.with_changes(inputs={"signed": "bipolar"}, component={"dac": {"bits": 4}}),
}  # fmt: skip
RANGES = ["level_fixed", "level", "full_scale", "calibrated", "fixed"]


def an_adc(bits: int, **fields: object) -> Adc:
    return Adc(bits=bits, columns=128, rate=1e9, **fields)


def code_places(bits: int, signed: bool, codes: str) -> np.ndarray:
    """All codes of an ADC, from its definition."""
    if not signed:
        return np.arange(2**bits, dtype=float)
    if codes == "symmetric":
        return np.arange(1 - 2 ** (bits - 1), 2 ** (bits - 1), dtype=float)
    return np.arange(-(2 ** (bits - 1)), 2 ** (bits - 1)) + 0.5


class TestTransfer:
    @pytest.mark.parametrize("codes", ["symmetric", "all"])
    @pytest.mark.parametrize(("bits", "signed"), [(1, False), *[(b, s) for b in (2, 3, 5, 8) for s in (False, True)]])
    @pytest.mark.parametrize("range_", RANGES)
    def test_every_code_and_every_corner(self, range_: str, bits: int, signed: bool, codes: str) -> None:
        """Nearest code, a tie to the even one counted from the middle, clipped at both ends, on a grid of quarter
        steps (exact in binary) and just beside each tie."""
        places = code_places(bits, signed, codes)
        more = {"full_scale": 1e-6} if range_ == "fixed" else {}
        adc = an_adc(bits, range=range_, codes=codes, **more).range_for(torch.ones(1, dtype=torch.float64), signed)
        assert (adc.low, adc.high) == (places[0], places[-1])
        ties = (places[:-1] + places[1:]) / 2
        grid = np.arange(places[0] - 3, places[-1] + 3.25, 0.25)
        x = np.sort(np.concatenate([grid, ties - 1e-9, ties + 1e-9, [-1e6, 1e6]]))
        center = 0.5 if signed and codes == "all" else 0.0
        expected = np.empty_like(x)
        for i, value in enumerate(x):
            distance = abs(places - value)
            nearest = places[distance == distance.min()]
            even = nearest[(nearest - center) % 2 == 0]
            expected[i] = even[0] if len(nearest) == 2 else nearest[0]
        ours = adc.convert(torch.from_numpy(x.copy())).numpy()
        assert np.array_equal(ours, expected)
        assert (np.diff(ours) >= 0).all()
        assert set(ours) == set(places), "every code is reached, and nothing else"
        assert adc.saturated(torch.from_numpy(x)) == ((x < places[0] - 0.5) | (x > places[-1] + 0.5)).sum()

    def test_symmetric_has_a_zero_code_and_all_has_none(self) -> None:
        zero = torch.tensor([0.0, -0.2, 0.2], dtype=torch.float64)
        for bits in (2, 6):
            largest = torch.ones(1, dtype=torch.float64)
            symmetric = an_adc(bits).range_for(largest, True).convert(zero.clone())
            every = an_adc(bits, codes="all").range_for(largest, True).convert(zero.clone())
            assert symmetric.tolist() == [0, 0, 0]
            assert every.abs().tolist() == [0.5, 0.5, 0.5]
            assert every.tolist()[1:] == [-0.5, 0.5]

    @pytest.mark.parametrize("signed", [False, True])
    @pytest.mark.parametrize("finest", ["level", "any"])
    def test_step_of_each_range(self, signed: bool, finest: str) -> None:
        """The last code reaches the largest current; with finest = level no code is below one level step."""
        largest = torch.tensor([2.0, 15.0, 31.0, 400.0], dtype=torch.float64)
        high = 15 if signed else 31
        expected = np.array([2.0, 15.0, 31.0, 400.0]) / high
        for range_ in RANGES[1:]:
            more = {"full_scale": 1e-6} if range_ == "fixed" else {}
            found = an_adc(5, range=range_, finest=finest, **more).range_for(largest, signed)
            never_finer = finest == "level" or range_ == "level"
            assert found.step.numpy() == pytest.approx(np.maximum(expected, 1) if never_finer else expected, rel=1e-15)
        assert an_adc(5, range="level_fixed", finest=finest).range_for(largest, signed).step.tolist() == [1, 1, 1, 1]

    def test_ideal_neither_rounds_nor_clips(self) -> None:
        x = torch.tensor([-1e6, -0.3, 0.25, 7.77, 1e9])
        adc = an_adc(3, range="ideal").range_for(torch.ones(1), False)
        assert torch.equal(adc.convert(x), x)
        assert adc.saturated(x) == 0

    def test_one_bit_cannot_hold_a_sign(self) -> None:
        with pytest.raises(ConfigurationError, match="at least 2 for a signed current"):
            small_chip(16, 20, 3, 4, 4, 1, "two_pass", 1, scheme="differential")

    def test_range_and_current_need_each_other(self) -> None:
        for wrong in ({"range": "fixed"}, {"full_scale": 1e-6}):
            with pytest.raises(ValidationError, match="needs it"):
                an_adc(8, **wrong)

    @settings(max_examples=60, deadline=None)
    @given(
        st.sampled_from(RANGES[:4]), st.booleans(), st.sampled_from(["symmetric", "all"]), st.integers(2, 7),
        st.floats(0, 0.1), st.floats(0, 1),
    )  # fmt: skip
    def test_a_ramp_through_a_column_never_falls(
        self, range_: str, pair: bool, codes: str, bits: int, gain: float, inl: float
    ) -> None:
        """Whatever the ADC's errors, a larger input gives no smaller code (inl is drawn below where it would)."""
        scheme = {"scheme": "differential"} if pair else {"scheme": "separate"}
        chip = small_chip(4, 20, 3, 4, 8, 8, "two_pass", bits, range_, **scheme).with_changes(
            component={"adc": {"codes": codes, "gain_sigma": gain, "offset_sigma": 1.0, "inl_sigma": inl * 0.05 * 2**bits}}
        )
        weight = torch.full((1, 5, 3), 7.0, dtype=torch.float64)
        matrix = CrossbarMatrix(weight, chip, False, largest_weight=7.0)
        ramp = torch.arange(256.0).view(1, 256, 1).expand(1, 256, 3)
        matrix.calibrate(ramp)
        assert (matrix(ramp).diff(dim=1) >= -1e-6).all()


class TestDac:
    @pytest.mark.parametrize("bits", [1, 2, 3, 8, 12])
    @pytest.mark.parametrize("bow", [-0.9, -0.3, 0.4, 0.9])
    def test_bow(self, bits: int, bow: float) -> None:
        """A parabola of that height, 0 at both ends, odd in the sign, monotone."""
        dac = Dac(bits=bits, bow=bow)
        top = 2**bits - 1
        code = torch.arange(-top, top + 1, dtype=torch.float64)
        voltage = dac.voltage(code).numpy()
        assert np.array_equal(voltage[[0, top, -1]], [-top, 0, top])
        assert (np.diff(voltage) > 0).all()
        assert np.array_equal(voltage, -voltage[::-1])
        n = code.numpy()
        expected = n if bits == 1 else n + np.sign(n) * bow * (1 - (2 * abs(n) / top - 1) ** 2)
        assert voltage == pytest.approx(expected, abs=1e-12)

    @pytest.mark.parametrize("bits", [2, 3, 6])
    def test_bow_is_refused_exactly_where_a_code_falls(self, bits: int) -> None:
        """The first step is the smallest for bow < 0, the last for bow > 0: 1 - 4 |bow| (L - 1) / L² above 0."""
        top = 2**bits - 1
        limit = top**2 / (4 * (top - 1))
        for sign in (-1, 1):
            Dac(bits=bits, bow=sign * limit * 0.999)
            with pytest.raises(ValidationError, match="not monotone"):
                Dac(bits=bits, bow=sign * limit * 1.001)

    def test_bow_reaches_the_currents(self) -> None:
        """One cell, an ideal ADC: the product is the driver's voltage itself."""
        chip = small_chip(4, 8, 1, 2, 3, 3, "two_pass", 8, "ideal", scheme="differential").with_changes(
            component={"dac": {"bow": 0.7}}
        )
        matrix = CrossbarMatrix(torch.ones(1, 1, 1), chip, False, largest_weight=1.0)
        x = torch.arange(8.0)
        expected = x + 0.7 * 4 * (x / 7) * (1 - x / 7)
        assert matrix(x.view(1, 8, 1))[0, :, 0].numpy() == pytest.approx(expected.numpy(), rel=1e-6)
        assert not matrix.exact


def one_cell_columns(outputs: int, adc: dict[str, object], units_per_crossbar: int = 1, bitlines: int = 40) -> CrossbarMatrix:
    """Every column one cell of one level step: its current is the input itself, 0 .. 255."""
    chip = small_chip(4, bitlines, 1, 2, 8, 8, "two_pass", 8, scheme="separate")
    chip = chip.with_changes(component={"adc": {"columns": -(-bitlines // units_per_crossbar)} | adc})
    return CrossbarMatrix(torch.ones(1, outputs, 1, dtype=torch.float64), chip, False, largest_weight=1.0)


RAMP = torch.arange(256.0, dtype=torch.float64).view(1, 256, 1)


class TestErrors:
    def test_columns_take_adcs_in_turn(self) -> None:
        """Three ADCs a crossbar: bitlines 0, 3, 6 .. have the same errors, also in a second instance, and others have
        others; a second column tile has ADCs of its own."""
        errors = {"offset_sigma": 3.0, "gain_sigma": 0.05, "inl_sigma": 3.0}
        matrix = one_cell_columns(12, errors, units_per_crossbar=3, bitlines=9)
        matrix.program((0, 1))
        plus = matrix(RAMP.expand(2, 1, 256, 1))[:, 0]  # the minus plane holds level 0: its own offset is constant
        steps = plus - plus[:, :1]
        for seed in (0, 1):
            for a in range(9):
                for b in range(9):
                    assert torch.equal(plus[seed, :, a], plus[seed, :, b]) == (a % 3 == b % 3)
            assert not torch.equal(plus[seed, :, 0], plus[seed, :, 9])
        assert not torch.equal(steps[0], steps[1])

    def test_same_seed_and_layer_same_errors(self) -> None:
        matrix = one_cell_columns(4, {"offset_sigma": 3.0, "gain_sigma": 0.05}, 4)
        found = {}
        for key in ((0, 0, 0), (0, 0, 5), (0, 1, 0), (3, 0, 0)):
            matrix.program(key[:1], layer=key[1], write=key[2])
            found[key] = matrix(RAMP)
        assert torch.equal(found[0, 0, 0], found[0, 0, 5]), "a new write does not change the ADCs"
        assert not torch.equal(found[0, 0, 0], found[0, 1, 0])
        assert not torch.equal(found[0, 0, 0], found[3, 0, 0])

    def test_gain_and_offset_have_the_stated_spread(self) -> None:
        """Line through each column of an ADC that neither rounds nor clips, 4000 ADCs: mean 0, the stated sigma, and
        no correlation, each within 5 standard errors (false alarm 3e-6 for the five)."""
        matrix = one_cell_columns(20, {"range": "ideal", "offset_sigma": 2.0, "gain_sigma": 0.03}, 20)
        x = torch.tensor([0.0, 200.0], dtype=torch.float64).view(1, 1, 2, 1)
        matrix.double().program(tuple(range(200)))
        # plus minus minus plane: both have an offset, only the plus one sees a current
        product = matrix(x.expand(200, 1, 2, 1))[:, 0].double()
        gain = ((product[:, 1] - product[:, 0]) / 200 - 1).flatten().numpy()
        offset = product[:, 0].flatten().numpy()
        n = gain.size
        assert abs(gain.mean()) < 5 * 0.03 / n**0.5
        assert abs(offset.mean()) < 5 * 2 * 2**0.5 / n**0.5
        assert gain.std() == pytest.approx(0.03, rel=5 / (2 * n) ** 0.5)
        assert offset.std() == pytest.approx(2 * 2**0.5, rel=5 / (2 * n) ** 0.5)
        assert abs(np.corrcoef(gain, offset)[0, 1]) < 5 / n**0.5

    def test_nonlinearity_is_a_sine_that_is_0_at_the_ends(self) -> None:
        matrix = one_cell_columns(12, {"inl_sigma": 6.0}, 12)
        codes = matrix(RAMP)[0].numpy()
        n = np.arange(256)
        assert (codes[0] == 0).all()
        assert (codes[-1] == 255).all()
        height = codes[127:129].mean(0) - 127.5
        assert height.std() > 2
        expected = n[:, None] + height * np.sin(np.pi * n[:, None] / 255)
        assert abs(codes - expected).max() <= 1.5  # rounding of the codes and of the height
        assert (np.diff(codes, axis=0) >= 0).all()

    def test_errors_that_would_make_codes_fall_are_refused(self) -> None:
        with pytest.raises(ParameterError, match="not monotone"):
            one_cell_columns(12, {"inl_sigma": 99.0}, 12)(RAMP)

    def test_clipped_after_its_errors(self) -> None:
        """Codes stay codes, whole and 255 apart at most, whatever the gain; most columns reach an end."""
        matrix = one_cell_columns(30, {"offset_sigma": 50.0, "gain_sigma": 0.4}, 30)
        codes = matrix(RAMP)[0]
        assert torch.equal(codes, codes.round())
        span = codes.amax(0) - codes.amin(0)
        assert span.max() <= 255
        assert (span == 255).sum() + (codes.diff(dim=0)[-5:].abs().sum(0) == 0).sum() > 10


class TestCost:
    @pytest.mark.parametrize(("law", "most"), [("survey", 8), ("sar", 8), ("flash", 6)])
    @pytest.mark.parametrize("preset", [ISAAC, EDGE])
    def test_more_bits_cost_what_their_law_says(self, preset: Chip, law: str, most: int) -> None:
        """Energy, area and power of two bits less, in the table and in the simulation; time is the rate's. ISAAC's figures, stated
        at 8 bits, may be of no flash: there they are stated anew at its 6."""
        node, rate = preset.technology.node, preset.component.adc.rate
        adc: dict[str, object] = {"law": law, "bits": most}
        if preset is ISAAC:
            assert preset.component.adc.stated_at is not None
            adc["stated_at"] = preset.component.adc.stated_at.model_dump() | {"bits": most}
        before = preset.with_changes(component={"adc": adc})
        after = before.with_changes(component={"adc": {"bits": most - 2}})
        of_law = [LAWS[law](bits=bits, rate=rate, node=node) for bits in (most, most - 2)]
        rows = [chip.table().loc["adc"] for chip in (before, after)]
        for column, leaf in (("energy_per_action_J", "energy"), ("area_m2", "area")):
            ratio = getattr(of_law[1], leaf) / getattr(of_law[0], leaf)
            assert ratio < 1
            assert rows[1][column] / rows[0][column] == pytest.approx(ratio)
        one, other = (chip.table() for chip in (before, after))
        own = ["adc", "sample_hold", "bus"]  # samples are held to half a step, and a bus passes a tile that is smaller
        if preset is EDGE:
            own += ["multiplexer", "mesh_wires"]  # which settles to half a step; which pass smaller tiles too
        still = one.index.difference(own)
        assert one.loc[still, "area_m2"].to_numpy() == pytest.approx(other.loc[still, "area_m2"].to_numpy())
        assert before.area - after.area == pytest.approx((one.loc[own, "area_m2"] - other.loc[own, "area_m2"]).sum(), rel=1e-6)
        if preset is ISAAC:
            assert rows[0]["energy_per_action_J"] == pytest.approx(16e-3 / (8 * 1.28e9))
        ledgers = [simulate(place(trace(*small_convolutional()), chip, None), Arrivals.batch(1)) for chip in (before, after)]
        assert ledgers[0].span == ledgers[1].span
        assert ledgers[1].actions["adc"].sum() * rows[1]["energy_per_action_J"] == pytest.approx(
            ledgers[1].energy["adc"].drop("(static)").sum()
        )

    def test_fewer_adcs_take_longer_and_less_area(self) -> None:
        chips = [EDGE.with_changes(component={"adc": {"columns": columns}}) for columns in (64, 128, 256, 512)]
        assert [chip.costs["adc"].units for chip in chips] == [8, 4, 2, 1]
        areas, times = [chip.area for chip in chips], [chip.slice_time for chip in chips]
        assert areas == sorted(areas, reverse=True)
        assert times == sorted(times)
        analog = 128 / 2  # columns of a crossbar's pairs, which are subtracted before they are converted
        assert times[-1] == pytest.approx(4 * analog / 1.28e9)

    def test_a_rate_that_no_structure_reaches_is_refused(self) -> None:
        with pytest.raises(ConfigurationError, match=r"component\.adc.*ramp"):
            _ = EDGE.with_changes(component={"adc": {"law": "ramp"}}).costs


def accumulating(chip: Chip, **adc: object) -> Chip:
    return chip.with_changes(component={"adc": {"conversion": "after_accumulation", **adc}})


class TestBeforeTheAdc:
    """Pairs of two arrays, and offsets, subtracted from cells that err."""

    @pytest.mark.parametrize(
        "scheme", [{"scheme": "separate", "subtraction": "analog"}, {"scheme": "offset", "offset_reference": "analog"}]
    )
    def test_programming_errors_of_what_is_subtracted_are_its_own(self, scheme: dict[str, object]) -> None:
        """From the conductances of the cells as written, in numpy: currents less those of the partner or the slice's reference
        column of the crossbar, and nothing digital after it but slices and row tiles."""
        chip = small_chip(8, 10, 2, 5, 3, 1, "two_pass", 8, "ideal", **scheme).with_changes(
            device={"g_min": 1e-5, "g_max": 1e-4, "programming_sigma": 0.1, "device_to_device_sigma": 0.05}
        )
        matrix = crossbar_matrix(chip, 7, 19, 1, 3, False).double()
        matrix.program((4,))
        g, step = matrix.geometry, 9e-5 / 3
        siemens = matrix.array.conductances()[0, 0].numpy()  # (row_tiles, rows, columns)
        x = np.random.default_rng(0).integers(0, 8, (20, 19))
        expected = np.zeros((20, 7))
        for tile in range(g.row_tiles):
            rows = x[:, 8 * tile : 8 * tile + 8]
            current = rows @ siemens[tile, : rows.shape[1]] / step
            for o in range(7):
                for s in range(g.slices):
                    at = o * g.slices + s
                    if g.encoding.analog_pair:
                        net = current[:, 2 * at] - current[:, 2 * at + 1]
                    else:
                        net = current[:, at] - current[:, 7 * g.slices + o // g.outputs_per_crossbar * g.slices + s]
                    expected[:, o] += 4.0 ** (g.slices - 1 - s) * net
        assert g.column_tiles > 1
        assert matrix(torch.from_numpy(x).double()[None])[0].numpy() == pytest.approx(expected, rel=1e-9, abs=1e-9)
        ideal = x @ read_integers(matrix.mapped)[0].numpy().T
        assert abs(expected - ideal).max() > 1, "errors matter here"

    def test_a_pair_of_two_arrays_takes_half_the_conversions_of_one_converted_apart(self) -> None:
        model, example = small_convolutional()
        found = {}
        for kind in ("analog", "digital"):
            chip = EDGE.with_changes(weights={"scheme": "separate", "subtraction": kind})
            found[kind] = simulate(place(trace(model, example), chip, None), Arrivals.batch(1)).actions.sum()
        assert found["digital"]["adc"] == 2 * found["analog"]["adc"]
        assert found["digital"]["dac"] == found["analog"]["dac"]
        assert found["digital"]["crossbar"] == found["analog"]["crossbar"]
        assert found["digital"]["sample_hold"] == found["analog"]["sample_hold"]
        assert found["digital"]["accumulator"] > found["analog"]["accumulator"]

    def test_settings_that_contradict_each_other_are_refused(self) -> None:
        for wrong, said in (
            ({"scheme": "offset", "offset_reference": "analog", "flipped_columns": True}, "makes them signed"),
            ({"scheme": "offset", "offset_reference": "analog", "g_min_current": "converted"}, "away before the ADC"),
        ):
            with pytest.raises(ConfigurationError, match=said):
                EDGE.with_changes(weights=wrong)
        with pytest.raises(ConfigurationError, match="crossbars_per_core = 1 must be even"):
            EDGE.with_changes(
                structure={"crossbars_per_core": 1}, weights={"scheme": "separate", "subtraction": "analog"},
            )  # fmt: skip


class TestAccumulation:
    @pytest.mark.parametrize("name", CHIPS)
    @pytest.mark.parametrize("network", [small_convolutional, residual])
    @pytest.mark.parametrize("accumulate", [False, True])
    def test_conversions_in_events_function_and_geometry(self, name: str, network, accumulate: bool) -> None:  # type: ignore[no-untyped-def]
        """The first network has inputs of one sign, the second (its first layer) of both."""
        chip = accumulating(CHIPS[name]) if accumulate else CHIPS[name]
        model, example = network()
        placement = place(trace(model, example), chip)
        actions = simulate(placement, Arrivals.batch(1)).actions
        converted = convert(model, chip, example, seed=0)
        layers = analog_layers(converted)
        for layer in layers.values():
            layer.matrix.counts = ActionCounts()
        converted(example[:1])
        signed = []
        for key, layer in layers.items():
            counts, geometry, matrix = layer.matrix.counts, placement.geometry(key), layer.matrix
            passes = 2 if matrix.signed_input and chip.inputs.signed == "two_pass" else 1
            bits = chip.inputs.bits - (chip.inputs.signed == "bipolar")
            slices = -(-bits // chip.component.dac.bits)
            assert counts.vectors == placement.network.layer(key).vectors
            each = conversions_per_slice(geometry) * passes * (1 if accumulate else slices)
            assert counts.conversions == actions.loc[key, "adc"] == each * counts.vectors
            assert actions.loc[key, "shift_add"] == actions.loc[key, "output_register"] == actions.loc[key, "adc"]
            assert counts.drives == actions.loc[key, "dac"] == drives_per_slice(geometry) * passes * slices * counts.vectors
            assert actions.loc[key, "crossbar"] == geometry.crossbars * passes * slices * counts.vectors
            signed.append(matrix.signed_input)
        assert any(signed) == (network is residual)

    @pytest.mark.parametrize("chip", [ISAAC, EDGE])
    def test_one_conversion_takes_the_time_of_one(self, chip: Chip) -> None:
        """All columns of an ADC once a vector, reads of all slices in between."""
        slow = chip.with_changes(component={"adc": {"rate": 1e6}})
        slices = chip.input_slices
        assert accumulating(slow).slice_time == pytest.approx(slow.slice_time / slices)
        wide = {name: {"units": 64} for name in ("activation", "accumulator", "pool")}  # so that nothing else holds reads up
        quick = chip.with_changes(component={"adc": {"rate": 1e15}, "shift_add": {"rate": 1e15}, **wide})
        assert accumulating(quick).slice_time == pytest.approx(chip.timing.array_read)

    @settings(max_examples=80, deadline=None)
    @given(st.data())
    def test_lossless_accumulation_is_the_integer_product(self, data: st.DataObject) -> None:
        """Bits for all rows, the whole input and a sign: the accumulated current loses nothing."""
        scheme = data.draw(st.sampled_from([*SCHEMES, {"scheme": "differential", "subtraction": "shared_bitline"}]))
        pair = scheme["scheme"] == "differential" and scheme.get("subtraction") != "digital"
        signed = data.draw(st.booleans())
        kinds = ["two_pass", "bipolar"] + (["twos_complement"] if pair or not signed else [])
        streams = data.draw(st.sampled_from(kinds))
        dac = 1 if streams == "twos_complement" else data.draw(st.integers(1, 4))
        cell_bits, weight_bits = data.draw(st.integers(1, 4)), data.draw(st.integers(2, 7))
        wordlines, input_bits = data.draw(st.integers(2, 24)), data.draw(st.integers(2, 7))
        bits = lossless_bits(wordlines, input_bits, max(cell_bits, weight_bits)) + 1
        chip = accumulating(small_chip(
            wordlines, 2 * weight_bits + 7, cell_bits, weight_bits, input_bits, dac, streams, bits, **scheme,
        ))  # fmt: skip
        seed = data.draw(st.integers(0, 999))
        matrix = crossbar_matrix(chip, data.draw(st.integers(1, 9)), data.draw(st.integers(1, 50)), 1, seed, signed)
        matrix.double().fuse_when_exact = False
        x = np.random.default_rng(seed).integers(matrix.low, matrix.high + 1, (1, 4, matrix.geometry.inputs))
        expected = x @ read_integers(matrix.mapped).numpy().transpose(0, 2, 1)
        assert matrix.exact
        assert np.array_equal(matrix(torch.from_numpy(x).double()).numpy(), expected)

    def test_one_bit_less_is_seen(self) -> None:
        """The worst case itself: all rows, all levels, the largest input, one bit too few clips."""
        for less, equal in ((0, True), (1, False)):
            bits = lossless_bits(16, 4, 3)
            chip = accumulating(small_chip(16, 20, 3, 4, 4, 1, "two_pass", bits - less, "level_fixed", scheme="separate"))
            matrix = CrossbarMatrix(torch.full((1, 2, 16), 7.0), chip, False, largest_weight=7.0)
            matrix.fuse_when_exact = False
            product = matrix(torch.full((1, 1, 16), 15.0))
            assert (product.flatten().tolist() == [16 * 7 * 15] * 2) == equal == matrix.exact


class TestRanges:
    @pytest.mark.parametrize("pair", [True, False])
    @pytest.mark.parametrize("accumulate", [True, False])
    def test_fixed_range_in_ampere(self, pair: bool, accumulate: bool) -> None:
        """Columns of 5 cells, currents in ampere by hand, from the voltages up."""
        scheme = {"scheme": "differential" if pair else "separate"}
        g_min, g_max, volt, full = 2e-6, 50e-6, 0.3, 15e-6
        chip = small_chip(8, 20, 3, 4, 4, 2, "two_pass", 6, **scheme).with_changes(
            device={"g_min": g_min, "g_max": g_max, "read_voltage": volt},
            component={"adc": {"range": "fixed", "full_scale": full, "finest": "any"}},
        )
        chip = accumulating(chip) if accumulate else chip
        matrix = crossbar_matrix(chip, 6, 5, 1, 2, False).double()
        weight = read_integers(matrix.mapped)[0].numpy()
        x = np.random.default_rng(3).integers(0, 16, (40, 5))
        high = 31 if pair else 63

        def code(ampere: np.ndarray) -> np.ndarray:
            return np.clip(np.round(ampere / full * high), -high if pair else 0, high)

        def siemens(level: np.ndarray) -> np.ndarray:
            return g_min + level * (g_max - g_min) / 7

        expected = np.zeros((40, 6))
        largest = 15 if accumulate else 3
        streams = [(x, 1)] if accumulate else [(x & 3, 1), (x >> 2, 4)]
        for digit, worth in streams:
            plus, minus = (digit * volt / largest @ siemens(np.clip(sign * weight.T, 0, None)) for sign in (1, -1))
            if pair:
                digital = code(plus - minus)
            else:  # g_min's current is taken away before the ADC
                beneath = (digit * volt / largest).sum(1, keepdims=True) * g_min
                digital = code(plus - beneath) - code(minus - beneath)
            level_current = volt / largest * (g_max - g_min) / 7
            expected += worth * digital * (full / high) / level_current
        assert matrix(torch.from_numpy(x).double()[None])[0].numpy() == pytest.approx(expected, rel=1e-9)

    @pytest.mark.parametrize("scheme", [SCHEMES[0], SCHEMES[1], SCHEMES[3]])
    @pytest.mark.parametrize("percentile", [0.9, 0.55, 0.999, 1.0])
    def test_each_crossbar_has_its_own_percentile(self, scheme: dict[str, object], percentile: float) -> None:
        """Currents of every tile, weight slice and read in numpy; numpy's quantile with method inverted_cdf."""
        base = small_chip(8, 9, 2, 5, 3, 1, "two_pass", 3, "calibrated", **scheme)
        x = torch.randint(0, 8, (1, 30, 20), generator=torch.Generator().manual_seed(1)).double()
        steps = {}
        for per in ("layer", "crossbar"):
            chip = base.with_changes(component={"adc": {"range_per": per, "percentile": percentile, "finest": "any"}})
            matrix = crossbar_matrix(chip, 7, 20, 1, 3, False)
            matrix.calibrate(x)
            steps[per] = matrix.full_scale
            g = matrix.geometry
            assert (g.row_tiles, g.column_tiles > 1) == (3, True)
            columns = matrix.mapped.columns()[0].numpy()
            if g.encoding.analog_pair:
                columns = columns[..., 0::2] - columns[..., 1::2]
            seen = []  # per row tile: (reads, columns)
            for tile in range(3):
                rows = x[0, :, tile * 8 : tile * 8 + 8].numpy().astype(int)
                bits = np.concatenate([rows >> k & 1 for k in range(3)])
                seen.append(abs(bits @ columns[tile, : rows.shape[1]]))
            each = 1 if g.encoding.analog_pair or g.encoding.scheme == "offset" else 2
            stored = 7 * g.slices * each
            kind = [(c // (g.slices * each) // g.outputs_per_crossbar, c // each % g.slices) for c in range(stored)]
            kind += [(t, "reference") for t in range(g.column_tiles * g.reference_columns)]
            for tile in range(3 if per == "crossbar" else 1):
                for c, (column_tile, part) in enumerate(kind):
                    alike = [j for j, (t, s) in enumerate(kind) if s == part and (per == "layer" or t == column_tile)]
                    values = seen[tile][:, alike] if per == "crossbar" else np.stack(seen)[:, :, alike]
                    expected = np.quantile(values.ravel(), percentile, method="inverted_cdf")
                    assert matrix.full_scale[tile, c].item() == pytest.approx(max(expected, 1e-12), rel=1e-6)
        assert steps["crossbar"].shape[0] == 3
        assert steps["layer"].shape[0] == 1
        assert len(steps["crossbar"].unique()) > len(steps["layer"].unique())

    @pytest.mark.parametrize("scheme", [SCHEMES[0], {"scheme": "separate"}, {"scheme": "offset"}])
    def test_level_ranges_are_made_anew_for_too_few_bits(self, scheme: dict[str, object]) -> None:
        """One code a level as long as the codes reach the largest current that there can be; below, codes reach the largest
        that was seen, no finer than a level; "level_fixed" keeps the level and clips."""
        x = torch.randint(0, 8, (1, 30, 20), generator=torch.Generator().manual_seed(1)).double()
        pair = int(scheme["scheme"] == "differential")
        for bits in range(3 + pair, 8):
            chip = small_chip(16, 40, 3, 4, 3, 1, "two_pass", bits, **scheme)
            matrix = crossbar_matrix(chip, 7, 20, 1, 3, False)
            high, worst = matrix.channel.adc.high, float(matrix.channel.largest_current().max())
            matrix.calibrate(x)
            reaches = worst <= high
            assert reaches == matrix.exact == (not matrix.channel.is_calibrated)
            step = matrix.channel.adc.step
            expected = torch.ones_like(step) if reaches else (matrix.full_scale / high).clamp(min=1)
            assert torch.equal(step, expected)
            fixed = crossbar_matrix(chip.with_changes(component={"adc": {"range": "level_fixed"}}), 7, 20, 1, 3, False)
            clipped = fixed.calibrate(x)
            seen = crossbar_matrix(chip.with_changes(component={"adc": {"range": "calibrated"}}), 7, 20, 1, 3, False)
            seen.calibrate(x)
            if not reaches:
                assert torch.equal(matrix.full_scale, seen.full_scale)
                assert matrix.calibrate(x) == 0
                assert (clipped > 0) == bool((seen.full_scale > high + 0.5).any())
            assert bool((fixed.channel.adc.step == 1).all())

    @pytest.mark.parametrize("accumulate", [True, False])
    @pytest.mark.parametrize("lower", [-4e-6, 0.0, 6e-6])
    def test_fixed_range_that_begins_anywhere(self, lower: float, accumulate: bool) -> None:
        """Codes 0 to 63 from `lower` to `full_scale`, the rest in ampere by hand."""
        g_min, g_max, volt, full = 2e-6, 50e-6, 0.3, 15e-6
        chip = small_chip(8, 20, 3, 4, 4, 2, "two_pass", 6, scheme="differential").with_changes(
            device={"g_min": g_min, "g_max": g_max, "read_voltage": volt},
            component={"adc": {"range": "fixed", "full_scale": full, "lower": lower, "finest": "any"}},
        )
        chip = accumulating(chip) if accumulate else chip
        matrix = crossbar_matrix(chip, 6, 13, 1, 2, False).double()  # two row tiles
        weight = read_integers(matrix.mapped)[0].numpy()
        x = np.random.default_rng(3).integers(0, 16, (40, 13))
        width, largest = (full - lower) / 63, 15 if accumulate else 3
        level = volt / largest * (g_max - g_min) / 7
        expected, saturated = np.zeros((40, 6)), 0
        for digit, worth in [(x, 1)] if accumulate else [(x & 3, 1), (x >> 2, 4)]:
            for rows in (slice(0, 8), slice(8, 13)):
                code = (digit[:, rows] @ weight.T[rows] * level - lower) / width
                saturated += ((code < -0.5) | (code > 63.5)).sum()
                expected += worth * (lower + width * np.clip(np.round(code), 0, 63)) / level
        matrix.measure = True
        assert matrix(torch.from_numpy(x).double()[None])[0].numpy() == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert matrix.counts.saturated == saturated > 0
        assert adc_errors(matrix.channel, matrix.array.draws, matrix.layout) is None

    @pytest.mark.parametrize("per", ["layer", "crossbar"])
    def test_a_current_on_a_pedestal_uses_all_codes_from_its_lower_percentile(self, per: str) -> None:
        """g_min's current goes through the ADCs: with codes from zero up few of them are used; ranges by numpy's quantiles,
        and a product many times nearer to the exact one."""
        base = small_chip(8, 40, 3, 4, 3, 3, "two_pass", 5, "calibrated", scheme="separate", g_min_current="converted")
        base = base.with_changes(device={"g_min": 5e-5, "g_max": 8e-5}, component={"adc": {"range_per": per, "finest": "any"}})
        x = torch.randint(4, 8, (1, 60, 20), generator=torch.Generator().manual_seed(1)).double()
        off = {}
        for name, lower in (("from zero", None), ("from the lowest", 0.0), ("from a percentile", 0.1)):
            chip = base.with_changes(component={"adc": {"lower_percentile": lower}})
            matrix = crossbar_matrix(chip, 7, 20, 1, 3, False).double()
            matrix.calibrate(x)
            exact = x @ read_integers(matrix.mapped).transpose(1, 2)
            off[name] = float((matrix(x) - exact).square().mean())
            if lower is None:
                assert matrix.lowest is None
                assert "lowest" not in matrix.state_dict()
                continue
            columns = matrix.mapped.columns()[0].numpy() + 5e-5 / (3e-5 / 7)
            currents = [x[0, :, 8 * t : 8 * t + 8].numpy() @ columns[t, : min(8, 20 - 8 * t)] for t in range(3)]
            parts = currents if per == "crossbar" else [np.concatenate(currents)]
            expected = [np.quantile(part, lower, method="inverted_cdf") for part in parts]
            assert matrix.lowest.shape == matrix.full_scale.shape
            assert matrix.lowest[:, 0].numpy() == pytest.approx(expected, rel=1e-6)
            again = crossbar_matrix(chip, 7, 20, 1, 3, False).double()
            again.load_state_dict(matrix.state_dict())
            assert torch.equal(again(x), matrix(x))
        assert off["from the lowest"] < off["from zero"] / (4 if per == "crossbar" else 1.5)
        assert off["from the lowest"] < off["from a percentile"], "what lies below is clipped"

    def test_lower_ends_without_effect_are_refused(self) -> None:
        for wrong, said in (
            ({"lower": 1e-6}, "goes with range = fixed"),
            ({"range": "fixed", "full_scale": 1e-6, "lower": 1e-6}, "must be above lower"),
            ({"range": "fixed", "full_scale": 0.0}, "must be above lower, 0 A"),
            ({"lower_percentile": 0.1}, "goes with range = calibrated"),
            ({"range": "calibrated", "lower_percentile": 0.1, "codes": "all"}, "all are used anyway"),
        ):
            with pytest.raises(ValidationError, match=said):
                an_adc(8, **wrong)

    @pytest.mark.parametrize("scheme", [SCHEMES[0], {"scheme": "separate"}, {"scheme": "offset", "offset_reference": "analog"}])
    @pytest.mark.parametrize("accumulate", [True, False])
    def test_a_column_gives_at_most_its_current_limit(self, scheme: dict[str, object], accumulate: bool) -> None:
        """Each read of each column held at ± the limit, in ampere by hand; the share is counted, and told at conversion."""
        volt, limit, g_min, g_max = 0.2, 4e-6, 1e-6, 4e-5
        chip = small_chip(8, 30, 3, 4, 4, 2, "two_pass", 8, "ideal", **scheme).with_changes(
            device={"g_min": g_min, "g_max": g_max, "read_voltage": volt}, component={"adc": {"current_limit": limit}}
        )
        chip = accumulating(chip) if accumulate else chip
        matrix = crossbar_matrix(chip, 6, 13, 1, 2, False).double()
        x = np.random.default_rng(3).integers(0, 16, (40, 13))
        g, levels = matrix.geometry, matrix.mapped.levels[0].numpy()
        unit = volt / 3 * (g_max - g_min) / 7
        expected, limited = np.zeros((40, 6)), 0
        for digit, worth in ((x & 3, 1), (x >> 2, 4)):
            for tile in range(2):
                rows = digit[:, 8 * tile : 8 * tile + 8]
                for s in range(g.slices):
                    cells = levels[tile, : rows.shape[1], :, s]
                    if g.encoding.analog_pair:
                        held = [cells[..., 0] - cells[..., 1]]
                    elif g.encoding.analog_reference:
                        held = [cells[..., 0] - (8 / 8 ** (g.slices - 1) if s == 0 else 0)]
                    else:
                        held = [cells[..., 0], cells[..., 1]]
                    for sign, part in zip((1, -1), held, strict=False):
                        current = rows @ part * unit
                        limited += (abs(current) > limit).sum()
                        expected += sign * worth * 8.0 ** (g.slices - 1 - s) * np.clip(current, -limit, limit) / unit
        matrix.measure = True
        assert matrix(torch.from_numpy(x).double()[None])[0].numpy() == pytest.approx(expected, rel=1e-9, abs=1e-9)
        assert matrix.counts.limited == limited > 0
        matrix.calibrate(torch.from_numpy(x).double()[None])
        assert matrix.limited_share == pytest.approx(limited / (40 * matrix.channel.columns * 4))

    def test_a_current_limit_that_cells_reach_is_told_and_one_that_they_cannot_reach_changes_nothing(self) -> None:
        model, example = small_convolutional()
        tight = EDGE.with_changes(component={"adc": {"current_limit": 1e-6}})
        with pytest.warns(RangeWarning, match=r"current_limit = 1e-06 A holds part of the column currents .* %"):
            convert(model, tight, example, seed=0)
        wide = EDGE.with_changes(component={"adc": {"current_limit": 1.0}})
        both = [convert(model, chip, example, seed=0)(example) for chip in (EDGE, wide)]
        assert torch.allclose(*both, atol=1e-5)
        with pytest.raises(ConfigurationError, match=r"current_limit is a current and needs device\.read_voltage"):
            ISAAC.with_changes(device={"read_voltage": None}, component={"adc": {"current_limit": 1e-3}})

    def test_per_crossbar_steps_are_undone_tile_by_tile(self) -> None:
        """With many bits each crossbar's own step changes nothing; a wrong one would scale its share."""
        chip = small_chip(8, 9, 2, 5, 3, 1, "two_pass", 20, "calibrated", scheme="offset").with_changes(
            component={"adc": {"range_per": "crossbar", "finest": "any"}}
        )
        matrix = crossbar_matrix(chip, 7, 20, 1, 3, False).double()
        x = torch.randint(0, 8, (1, 30, 20), generator=torch.Generator().manual_seed(1)).double()
        matrix.calibrate(x)
        expected = x @ read_integers(matrix.mapped).transpose(1, 2)
        assert matrix(x).numpy() == pytest.approx(expected.numpy(), abs=expected.abs().max().item() * 1e-4)
