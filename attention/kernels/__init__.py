"""How modulated attention is computed fast: the logit range, the one-pass kernels, and which kernel is trusted."""
