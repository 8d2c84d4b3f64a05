"""What many runs say together: benchmarks, leaderboards, tables, published pages."""
