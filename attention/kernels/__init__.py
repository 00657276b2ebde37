"""How modulated attention is computed fast: the row range, the one-pass kernels, and which kernel is trusted."""
