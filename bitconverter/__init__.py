"""BitConverter: shrink a Llama, talk to it, on the PC you already have."""

__version__ = "0.1.0"
