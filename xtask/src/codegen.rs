//! Writes the generated code. The test that proves it fresh is also what makes it, so the two cannot differ.

use anyhow::Result;

use crate::tools;

/// Compiles the `.proto` files and writes `proto/src/generated/`.
pub(crate) fn run() -> Result<()> {
    let mut command = tools::cargo();
    tools::run(command.env("ATOLL_CODEGEN", "write").args([
        "test",
        "--package",
        "proto",
        "--test",
        "it",
        "--quiet",
    ]))
}
