"""Making of the head model and training of the networks (paper 3.3, 4.1)."""
