"""What a finished run leaves behind: its record, packing, environment."""
