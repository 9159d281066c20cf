//! The WGSL compute shaders of neutreno, one file an op.
