"""Stage 2: adversarial adaptation from the CIR to the target."""
