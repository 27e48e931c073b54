"""The cells in plain loops: for processors whose vectors the tile does not know, and where the JIT is off."""
