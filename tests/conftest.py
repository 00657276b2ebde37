"""One thread: on a busy two-core machine torch with two threads can be 100 times slower on tiny tensors."""

import torch

torch.set_num_threads(1)
