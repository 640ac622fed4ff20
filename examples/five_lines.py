"""What `xbar run digits --chip edge --set component.adc.bits=6 --out out/example` does, in five lines."""

from pathlib import Path

from xbar import load_chip
from xbar.reports.render import render
from xbar.workloads.study.run import Study, run
from xbar.workloads.workload import load_workload

chip = load_chip("edge", {"component.adc.bits": "6"})
results = run(load_workload("digits"), chip, Study(instances=10))
results.save(Path("out/example"))
render(results, Path("out/example"))
print(results.meta["summary"]["energy_per_request_J"], results.meta["score"]["chip"])
