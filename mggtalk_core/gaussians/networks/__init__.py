"""The paper's networks of the Gaussian stage: identity encoder, both decoders, densification."""
