"""The computer's side: float64 oracle, data, simulation, streaming. Never runs on the device."""
