//! An audit's report, for people.

use std::fmt::Write;
use std::process::ExitCode;

use crate::store::AuditReport;

/// The report as text, a line each.
#[must_use]
pub fn text(report: &AuditReport) -> String {
    let mut text = String::new();
    let mut line = |name: &str, value: String| {
        // Writing to a string cannot fail.
        let _ = writeln!(text, "{name:<10} {value}");
    };
    line("accounts", report.accounts.to_string());
    line("transfers", report.transfers.to_string());
    line("sum", format!("{} nano-credits", report.sum));
    line("fees", format!("{} credits", report.fees));
    line("pool", format!("{} credits", report.pool));
    line("reserved", format!("{} credits", report.reserved));
    line("held", format!("{} pending transfers", report.held));
    line("settled", format!("{} leases", report.settlements));
    line("days", format!("{} closed", report.days));
    if let Some(head) = report.chain_head {
        line("chain", data_encoding::HEXLOWER.encode(&head));
    }
    for finding in &report.findings {
        line("FINDING", finding.clone());
    }
    line(
        "verdict",
        if report.is_clean() { "clean" } else { "NOT CLEAN" }.to_owned(),
    );
    text
}

/// Prints the report to standard output, and tells whether the books are clean.
#[must_use]
pub fn print(report: &AuditReport) -> ExitCode {
    print!("{}", text(report));
    if report.is_clean() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
