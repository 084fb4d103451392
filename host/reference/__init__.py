"""Float64 implementations that the integers are measured against; they share nothing with the engine."""
