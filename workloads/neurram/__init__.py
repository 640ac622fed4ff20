"""NeuRRAM, a 48-core RRAM chip that was measured: its networks on the simulated chip, judged by what the chip itself gave."""
