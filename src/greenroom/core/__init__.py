"""Pure decisions: values in, values out. Nothing here awaits, reads a clock, logs, or touches the world."""
