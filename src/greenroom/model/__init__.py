"""Frozen values with no behaviour beyond parse, serialise and validate. No I/O, no clock, no logging."""
