//! The `arkwalletd` program. Everything it does is in [`arkwalletd::app`].

use std::process::ExitCode;

fn main() -> ExitCode {
    // Test builds stop at the commit point that the variable FAILPOINTS names.
    #[cfg(feature = "failpoints")]
    let _scenario = fail::FailScenario::setup();
    arkwalletd::app::main()
}
