//! Rounds end to end, against the sandbox's server, which can also lie.

mod delegated;
mod hostile;
mod interactive;
mod maintenance;
