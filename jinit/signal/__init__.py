"""What a batch shows: signals by layer, and kernels and scales drawn from them."""
