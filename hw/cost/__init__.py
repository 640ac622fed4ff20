"""What components cost: energy, rate and area."""
