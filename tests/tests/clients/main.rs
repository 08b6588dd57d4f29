//! The official clients, package managers and coding agents, with the gate and without it.
//!
//! Each claim is first shown without the gate, which proves the provider and the client, and then through it.

mod agents;
mod curl;
mod packages;
mod sdk;
