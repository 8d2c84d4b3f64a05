"""From YAML to an experiment, parsed and checked once."""
