"""What a transfer is worth, computed from predictions alone: numpy in, numbers out."""
