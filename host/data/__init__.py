"""Digits to learn from: the bundled ones, and directories of IDX files."""
