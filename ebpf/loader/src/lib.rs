//! Loads the kernel programs and reads original destinations.
