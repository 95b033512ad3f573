//! The \`arkwalletd\` program.

fn main() {}
