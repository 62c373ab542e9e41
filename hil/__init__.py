"""hil: hardware-in-the-loop tests for Particle boards against a Device Cloud on the same machine."""

__version__ = "0.2.0"
