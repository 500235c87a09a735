//! Who carries payouts out. The one that ships is virtual: it writes down what it would have paid.

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::future::Future;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use domain::{Credits, TransferId};
use serde::{Deserialize, Serialize};
use tokio::sync::Mutex;

/// The virtual provider's own books, in the data folder.
pub const VIRTUAL_FILE: &str = "virtual-payouts.jsonl";

/// What a provider is asked to pay.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PaymentOrder {
    /// The payout: the key of idempotence. However often it is asked for, it is paid once.
    pub payout: TransferId,
    /// Where to.
    pub destination: String,
    /// How much.
    pub amount: Credits,
}

/// A provider's last word on an order. Asked again, he says the same.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PaymentAnswer {
    /// Paid.
    Paid {
        /// The provider's name for it.
        reference: String,
    },
    /// Not paid, and never will be.
    Refused {
        /// Why.
        reason: String,
    },
}

/// No answer: the order may have been carried out or not, and must be repeated, never given up.
#[derive(Debug, thiserror::Error)]
pub enum ProviderError {
    /// Nobody answered.
    #[error("the provider did not answer: {0}")]
    NoAnswer(String),
    /// The virtual provider's file failed.
    #[error("the virtual provider could not use {}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
}

/// Carries payouts out.
pub trait PayoutProvider: Send + Sync + 'static {
    /// Pays an order, once however often it is asked for.
    fn pay(&self, order: &PaymentOrder) -> impl Future<Output = Result<PaymentAnswer, ProviderError>> + Send;
}

/// A line of the virtual provider's file.
#[derive(Clone, Debug, Serialize, Deserialize, PartialEq, Eq)]
struct Line {
    payout: String,
    destination: String,
    amount_nano: i64,
    reference: String,
}

#[derive(Debug, Default)]
struct Paid {
    lines: BTreeMap<String, Line>,
    asked: BTreeMap<String, u32>,
}

/// A provider that moves nothing: it keeps a synced line of each payment. So that all that providers do can be seen and
/// tested, what follows `virtual:` in the destination says how it behaves:
/// - `closed…`: the payment is refused for good;
/// - `down…`: the first two times nobody answers and nothing is paid;
/// - `lost…`: the first time it is paid and the answer is lost;
/// - anything else is paid.
#[derive(Debug)]
pub struct VirtualProvider {
    path: PathBuf,
    paid: Mutex<Paid>,
}

impl VirtualProvider {
    /// Reads what was paid before from `path`, if it is there.
    ///
    /// # Errors
    /// When the file cannot be read, or has a line that is none of the provider's.
    pub fn open(path: &Path) -> Result<Self, ProviderError> {
        let failed = |source| ProviderError::File {
            path: path.to_owned(),
            source,
        };
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => String::new(),
            Err(error) => return Err(failed(error)),
        };
        let whole = text.rfind('\n').map_or(0, |end| end.saturating_add(1));
        let (lines, torn) = text.split_at(whole);
        if !torn.is_empty() {
            // The process died while it wrote: nothing was said of this payment.
            cut(path, whole).map_err(failed)?;
        }
        let mut paid = Paid::default();
        for line in lines.lines() {
            let line: Line = serde_json::from_str(line).map_err(|error| failed(io::Error::other(error)))?;
            paid.lines.insert(line.payout.clone(), line);
        }
        Ok(Self {
            path: path.to_owned(),
            paid: Mutex::new(paid),
        })
    }

    fn append(&self, line: &Line) -> io::Result<()> {
        let mut file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        let mut text = serde_json::to_string(line)?;
        text.push('\n');
        file.write_all(text.as_bytes())?;
        file.sync_all()
    }
}

/// Takes away what is behind the first `length` bytes.
fn cut(path: &Path, length: usize) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(u64::try_from(length).map_err(io::Error::other)?)?;
    file.sync_all()
}

impl PayoutProvider for VirtualProvider {
    async fn pay(&self, order: &PaymentOrder) -> Result<PaymentAnswer, ProviderError> {
        let payout = order.payout.to_string();
        let mut paid = self.paid.lock().await;
        let asked = paid.asked.entry(payout.clone()).or_default();
        *asked = asked.saturating_add(1);
        let asked = *asked;
        if let Some(line) = paid.lines.get(&payout) {
            return Ok(PaymentAnswer::Paid {
                reference: line.reference.clone(),
            });
        }
        let Some(account) = order.destination.strip_prefix("virtual:") else {
            return Ok(PaymentAnswer::Refused {
                reason: "the virtual provider knows only destinations that begin with `virtual:`".to_owned(),
            });
        };
        if account.starts_with("closed") {
            return Ok(PaymentAnswer::Refused {
                reason: "the destination is closed".to_owned(),
            });
        }
        if account.starts_with("down") && asked <= 2 {
            return Err(ProviderError::NoAnswer("it is down".to_owned()));
        }
        let line = Line {
            reference: format!("virtual-{}", paid.lines.len().saturating_add(1)),
            destination: order.destination.clone(),
            amount_nano: order.amount.as_nano(),
            payout: payout.clone(),
        };
        self.append(&line).map_err(|source| ProviderError::File {
            path: self.path.clone(),
            source,
        })?;
        let reference = line.reference.clone();
        paid.lines.insert(payout, line);
        if account.starts_with("lost") {
            return Err(ProviderError::NoAnswer("the answer was lost".to_owned()));
        }
        Ok(PaymentAnswer::Paid { reference })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn order(number: u128, destination: &str) -> PaymentOrder {
        PaymentOrder {
            payout: TransferId::new(number),
            destination: destination.to_owned(),
            amount: Credits::from_nano(7),
        }
    }

    #[tokio::test]
    async fn an_order_is_paid_once_whatever_becomes_of_the_answer_or_the_process() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join(VIRTUAL_FILE);
        let provider = VirtualProvider::open(&path).unwrap();
        assert!(provider.pay(&order(1, "virtual:lost")).await.is_err());
        let paid = PaymentAnswer::Paid {
            reference: "virtual-1".to_owned(),
        };
        assert_eq!(provider.pay(&order(1, "virtual:lost")).await.unwrap(), paid);
        // A process that died within a line.
        let mut text = std::fs::read_to_string(&path).unwrap();
        text.push_str("{\"payout\":\"trf_");
        std::fs::write(&path, &text).unwrap();
        let provider = VirtualProvider::open(&path).unwrap();
        assert_eq!(provider.pay(&order(1, "virtual:lost")).await.unwrap(), paid);
        provider.pay(&order(2, "virtual:ada")).await.unwrap();
        assert_eq!(std::fs::read_to_string(&path).unwrap().lines().count(), 2);
        VirtualProvider::open(&path).unwrap();
        std::fs::write(&path, format!("nonsense\n{text}")).unwrap();
        assert!(VirtualProvider::open(&path).is_err());
    }

    #[tokio::test]
    async fn a_provider_refuses_and_falls_silent() {
        let folder = tempfile::tempdir().unwrap();
        let provider = VirtualProvider::open(&folder.path().join(VIRTUAL_FILE)).unwrap();
        for destination in ["virtual:closed", "DE02 1203 0000 0000 2020 51"] {
            let answer = provider.pay(&order(1, destination)).await.unwrap();
            assert!(matches!(answer, PaymentAnswer::Refused { .. }), "{answer:?}");
        }
        let mut answers = Vec::new();
        for _ in 0..3 {
            answers.push(provider.pay(&order(2, "virtual:down")).await.is_ok());
        }
        assert_eq!(answers, [false, false, true]);
    }
}
