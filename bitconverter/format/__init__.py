"""Bytes on disk. Imports nothing else of ours."""
