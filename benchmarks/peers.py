"""The same product by this simulator and by others, side by side in one process: a 512 x 512 matrix, batch 1,000, one thread, as multiples
of torch.matmul of the same float32 product there.

python benchmarks/peers.py                        # aihwkit and CrossSim from the package index, in an environment of their own
python benchmarks/peers.py --source cross-sim=FOLDER --source aihwkit=FILE.whl    # from elsewhere

Peers are installed without what they depend on into `peers` of the user's cache, from which the packages of the environment that runs this
are seen too, torch among them: all are timed on the same torch. A peer that cannot be had, or a case that it has not, is told with
the reason. Uniform inputs from 0 to 1 by 8-bit DACs, 8-bit ADCs, Gaussian weights, one chip. "rms": how far what came out is
from the exact product, in shares of its own root mean square, so that errors are seen to be there; their models differ (each simulator's
own cells), and only times are compared.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import sysconfig
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import functional_product
import torch
from functional_product import SIZE, inputs
from ratios import told
from torch import Tensor

from xbar.workloads.data import cache_directory

PINS = {"aihwkit": "aihwkit==1.1.0", "cross-sim": "cross-sim==3.2.0"}  # aihwkit 1.2.0 has no wheel for Python 3.11
CASES = ("programming error", "programming error, one 512 x 512 array", "programming error, read noise", "8 x 1 bit",
         "8 x 1 bit, read noise")  # fmt: skip
READ_NOISE, PROGRAMMING = 0.03, 0.04  # of g_max, as in functional_product.py
ROUNDS = 11
Layer = Callable[[Tensor], Tensor]


class NotThereError(Exception):
    """A peer, or a case of it, is not to be had."""


def weight() -> Tensor:
    """(outputs, inputs) float32, those of `functional_product.layer`."""
    return torch.randn(SIZE, SIZE, generator=torch.Generator().manual_seed(0))


def largest_sum(array: int, x: Tensor | None = None) -> float:
    """The largest magnitude of a row tile's product of `x` (default: of the inputs), in units of the largest weight."""
    parts = zip((inputs() if x is None else x).split(array, 1), weight().split(array, 1), strict=True)
    return max(float((x @ w.T).abs().max()) for x, w in parts) / float(weight().abs().max())


def ours(case: str) -> Layer:
    """This simulator's layer, as `functional_product.py` times it."""
    return functional_product.layer(**functional_product.CASES[case])  # type: ignore[arg-type]


def aihwkit(case: str, compiled: bool) -> Layer:
    """aihwkit's, of compiled tiles or of those in torch, which alone read bit by bit (seven bits and a sign of 8-bit inputs); cells of its
    PCM model, programmed once."""
    from aihwkit.inference import PCMLikeNoiseModel
    from aihwkit.nn import AnalogLinearMapped
    from aihwkit.simulator.configs import InferenceRPUConfig, TorchInferenceRPUConfig, TorchInferenceRPUConfigIRDropT
    from aihwkit.simulator.parameters.enums import (
        AnalogMVType,
        BoundManagementType,
        NoiseManagementType,
        WeightNoiseType,
    )

    settings = functional_product.CASES[case]
    array, serial, noisy = int(settings["array"]), settings.get("dac_bits") == 1, "read_noise_sigma" in settings
    if serial and (compiled or noisy):
        raise NotThereError("bit by bit its tiles in torch alone read, and those without noise of weights at every read")
    config = InferenceRPUConfig() if compiled else TorchInferenceRPUConfigIRDropT() if serial else TorchInferenceRPUConfig()
    config.noise_model, config.drift_compensation = PCMLikeNoiseModel(), None
    config.mapping.max_input_size = config.mapping.max_output_size = array
    config.mapping.weight_scaling_omega, config.mapping.learn_out_scaling = 1.0, False
    forward, step = config.forward, 1 / (2**8 - 2)
    forward.inp_bound, forward.inp_res, forward.out_res = 1.0, step, step
    forward.out_noise, forward.bound_management, forward.noise_management = 0.0, BoundManagementType.NONE, NoiseManagementType.NONE
    forward.out_bound = largest_sum(array)
    if noisy:
        forward.w_noise, forward.w_noise_type = READ_NOISE, WeightNoiseType.ADDITIVE_CONSTANT
    if serial:
        forward.mv_type, forward.ir_drop = AnalogMVType.BIT_WISE, 0.0
        codes = (inputs() / (2 * step)).round().int()
        forward.out_bound = 2 * step * max(largest_sum(array, (codes >> bit & 1).float()) for bit in range(7))
    layer = AnalogLinearMapped(SIZE, SIZE, bias=False, rpu_config=config)
    layer.set_weights(weight())
    layer.eval()
    layer.program_analog_weights()
    found: Layer = layer
    return found


def crosssim(case: str) -> Layer:
    """CrossSim's: balanced pairs on arrays of 128 rows. Its parameters are named as in version 3.2."""
    from simulator import AnalogCore, CrossSimParameters

    settings = functional_product.CASES[case]
    array, serial = int(settings["array"]), settings.get("dac_bits") == 1
    params = CrossSimParameters()
    params.core.rows_max = params.core.cols_max = array
    params.core.mapping.inputs.mvm.min, params.core.mapping.inputs.mvm.max = -1.0, 1.0
    params.xbar.device.Rmin, params.xbar.device.infinite_on_off_ratio = 10_000, True
    errors = {"programming_error": PROGRAMMING} | ({"read_noise": READ_NOISE} if "read_noise_sigma" in settings else {})
    for name, magnitude in errors.items():
        error = getattr(params.xbar.device, name)
        error.enable, error.model, error.magnitude = True, "NormalIndependentDevice", magnitude
    adc, dac, reach = params.xbar.adc.mvm, params.xbar.dac.mvm, largest_sum(array)
    adc.model, adc.bits, adc.calibrated_range, adc.adc_per_ibit = "QuantizerADC", 8, [-reach, reach], serial
    dac.model, dac.bits, dac.input_bitslicing, dac.slice_size = "QuantizerDAC", 8, serial, 1
    dac.signed = False
    core = AnalogCore(weight().double().numpy(), params=params)
    return lambda x: torch.from_numpy(core.matmat(x.T.numpy()).T)


SIMULATORS: dict[str, Callable[[str], Layer]] = {
    "xbar": ours, "aihwkit, compiled": partial(aihwkit, compiled=True), "aihwkit, in torch": partial(aihwkit, compiled=False),
    "CrossSim": crosssim,
}  # fmt: skip


def measure() -> dict[str, Any]:
    """Multiples of torch.matmul and root mean square deviations by case and simulator, versions, and what is missing and why; in the
    peers' environment."""
    torch.set_num_threads(1)
    x, transposed = inputs(), weight().T.contiguous()
    exact = x @ transposed
    run: dict[str, Callable[[], object]] = {"torch.matmul": lambda: x @ transposed}
    rms, missing = {}, {}
    for case in CASES:
        for name, build in SIMULATORS.items():
            what = f"{case}, {name}"
            try:
                layer = build(case)
                with torch.no_grad():
                    out = layer(x)
            except Exception as error:
                missing[what] = f"{type(error).__name__}: {error}".removeprefix("NotThereError: ")
                continue
            rms[what] = float((out - exact).square().mean().sqrt() / exact.square().mean().sqrt())
            run[what] = lambda layer=layer: layer(x)  # type: ignore[misc]
    times: dict[str, list[float]] = {name: [] for name in run}
    with torch.no_grad():
        for _ in range(ROUNDS):
            for name, each in run.items():
                start = time.process_time()
                each()
                times[name].append(time.process_time() - start)
    medians = {name: statistics.median(spent) for name, spent in times.items()}
    base = medians.pop("torch.matmul")
    return {
        "matmul_s": base, "ratios": {name: spent / base for name, spent in medians.items()}, "rms": rms, "missing": missing,
        "versions": {"torch": torch.__version__, "xbar": version("xbar")} | _versions(),
    }  # fmt: skip


def _versions() -> dict[str, str]:
    found = {}
    for name in PINS:
        try:
            found[name] = version(name)
        except ModuleNotFoundError:
            continue
    return found


def prepared(folder: Path, sources: dict[str, str]) -> dict[str, str]:
    """An environment with what of the peers can be had (`sources`: what pip is asked for, by name); why the others cannot, as pip says."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-P", "-m", "venv", folder], check=True)
        seen = f"import site; site.addsitedir({sysconfig.get_paths()['purelib']!r})\n"
        (folder / "lib" / f"python{sys.version_info.major}.{sys.version_info.minor}" / "site-packages" / "zz_shared.pth").write_text(seen)
    missing = {}
    for name, source in sources.items():
        wheels = [] if Path(source).exists() else ["--only-binary", ":all:"]
        asked = [python, "-m", "pip", "install", "--quiet", "--no-deps", *wheels, source]
        done = subprocess.run(asked, capture_output=True, text=True)
        if done.returncode:
            missing[name] = " ".join(line for line in done.stderr.splitlines() if line.startswith("ERROR")) or done.stderr.strip()[-300:]
    return missing


def main(arguments: list[str]) -> int:
    """Install what can be had, measure in a process there, print a table and the ratios."""
    parser = argparse.ArgumentParser(description="Times beside other simulators.")
    parser.add_argument("--source", action="append", default=[], metavar="NAME=PATH", help=f"of {', '.join(PINS)}: a wheel or a folder")
    parser.add_argument("--environment", type=Path, default=None, help="of the peers (default: peers in the cache)")
    parser.add_argument("--measure", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    if options.measure:
        print(json.dumps(measure()))
        return 0
    folder = options.environment or cache_directory() / "peers"
    sources = dict(each.partition("=")[::2] for each in options.source)
    if not sources.keys() <= PINS.keys() or not all(Path(path).exists() for path in sources.values()):
        parser.error(f"--source wants NAME=PATH of {', '.join(PINS)}, got {', '.join(options.source)}")
    missing = prepared(folder, PINS | sources)
    run = subprocess.run([folder / "bin" / "python", __file__, "--measure"], stdout=subprocess.PIPE, text=True, check=True,
                         env=os.environ | {"OMP_NUM_THREADS": "1"})  # fmt: skip
    found = json.loads(run.stdout.splitlines()[-1])
    print(", ".join(f"{name} {number}" for name, number in found["versions"].items()), f"; one thread, median of {ROUNDS}")
    print(f"{'torch.matmul float32':<52} {found['matmul_s'] * 1e3:9.2f} ms")
    for name, ratio in found["ratios"].items():
        print(f"{name:<52} {found['matmul_s'] * ratio * 1e3:9.2f} ms {ratio:8.1f} x matmul, rms {found['rms'][name]:.3f}")
    for name, why in (missing | {k: v for k, v in found["missing"].items() if not v.startswith("ModuleNotFoundError")}).items():
        print(f"{name}: skipped, {why}")
    told("peers", found["ratios"])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
