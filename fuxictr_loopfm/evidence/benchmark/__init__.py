"""Models x methods x seeds of a data set."""
