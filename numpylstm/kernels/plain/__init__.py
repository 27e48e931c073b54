"""The cells in plain loops: for processors whose vector instructions the tile does not use, and with the JIT off."""
