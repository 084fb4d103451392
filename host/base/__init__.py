"""What every command stands on: its options, exit codes and signals, signs of life, files and places to put them."""
