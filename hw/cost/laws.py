"""Every law that a chip file may name, by name. Others in this room are for units that no component stands for yet: norms, softmax,
a vector unit, DRAM."""

from collections.abc import Mapping
from types import MappingProxyType

from xbar.hw.cost import (
    adc,
    array,
    buffer,
    charge,
    digital_unit,
    driver,
    link,
    logic,
    memory,
    periphery,
    registers,
    router,
    wire,
)
from xbar.hw.cost.law import LawFunction

LAWS: Mapping[str, LawFunction] = MappingProxyType({
    function.law.name: function
    for function in (
        driver.driver, driver.pulse_width, driver.gate_line, array.array, array.crosspoint, charge.charge, charge.discharge,
        charge.pulses, charge.capacitive, periphery.sample_hold, periphery.multiplexer,
        adc.survey, adc.sar, adc.flash, adc.ramp, adc.integrating, adc.sense_amplifier,
        logic.shift_add, logic.datapath, logic.adder, logic.multiplier, digital_unit.product, digital_unit.activation, digital_unit.pooling,
        registers.register_bank, buffer.sram, memory.edram, wire.bus, router.router, link.link,
    )
})  # fmt: skip
