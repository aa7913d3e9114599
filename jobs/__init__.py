"""What a person runs: commands, settings, the place where adapters are built."""
