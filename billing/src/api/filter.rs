//! Filters of a history: `field operator value`, joined by ` AND `, as AIP-160 writes them.

use proto::billing::v1::Transfer;
use proto::convert::FieldError;

/// More terms than there is sense in.
const TERMS_MAX: usize = 16;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Kind,
    JobId,
    Counterparty,
    AtUs,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Operator {
    Equal,
    NotEqual,
    Less,
    LessOrEqual,
    Greater,
    GreaterOrEqual,
}

/// Two characters before one: `<=` is no `<`.
const OPERATORS: [(&str, Operator); 6] = [
    ("!=", Operator::NotEqual),
    ("<=", Operator::LessOrEqual),
    (">=", Operator::GreaterOrEqual),
    ("=", Operator::Equal),
    ("<", Operator::Less),
    (">", Operator::Greater),
];

#[derive(Clone, Debug, PartialEq, Eq)]
struct Term {
    field: Field,
    operator: Operator,
    text: String,
    number: u64,
}

/// What a history is asked for. Without terms everything fits.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Filter(Vec<Term>);

impl Filter {
    /// Reads a filter.
    ///
    /// # Errors
    /// Says which term is none.
    pub(super) fn parse(text: &str) -> Result<Self, FieldError> {
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        let terms: Vec<&str> = text.split(" AND ").collect();
        if terms.len() > TERMS_MAX {
            return Err(FieldError::new(
                "filter",
                format!("must have at most {TERMS_MAX} terms"),
            ));
        }
        terms.into_iter().map(term).collect::<Result<_, _>>().map(Self)
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether a transfer, as its owner sees it, fits every term.
    pub(super) fn fits(&self, transfer: &Transfer) -> bool {
        self.0.iter().all(|term| term.fits(transfer))
    }
}

impl Term {
    fn fits(&self, transfer: &Transfer) -> bool {
        let text = match self.field {
            Field::Kind => &transfer.kind,
            Field::JobId => &transfer.job_id,
            Field::Counterparty => &transfer.counterparty,
            Field::AtUs => return self.operator.holds(&transfer.at_us, &self.number),
        };
        self.operator.holds(text, &self.text)
    }
}

impl Operator {
    fn holds<T: Ord>(self, left: &T, right: &T) -> bool {
        match self {
            Self::Equal => left == right,
            Self::NotEqual => left != right,
            Self::Less => left < right,
            Self::LessOrEqual => left <= right,
            Self::Greater => left > right,
            Self::GreaterOrEqual => left >= right,
        }
    }
}

fn term(text: &str) -> Result<Term, FieldError> {
    let wrong = |what: &str| {
        let example = "such as `kind = \"charge\" AND at_us >= 1700000000000000`";
        FieldError::new("filter", format!("`{}` {what}, {example}", text.trim()))
    };
    let place = text.find(['!', '<', '>', '=']);
    let (name, rest) = text.split_at(place.ok_or_else(|| wrong("has no operator"))?);
    let (symbol, operator) = OPERATORS
        .into_iter()
        .find(|(symbol, _)| rest.starts_with(symbol))
        .ok_or_else(|| wrong("has no operator"))?;
    let value = rest.strip_prefix(symbol).unwrap_or_default().trim();
    let field = match name.trim() {
        "kind" => Field::Kind,
        "job_id" => Field::JobId,
        "counterparty" => Field::Counterparty,
        "at_us" => Field::AtUs,
        _ => {
            return Err(wrong(
                "names no field; there are kind, job_id, counterparty and at_us",
            ));
        }
    };
    if field == Field::AtUs {
        let number = value
            .parse()
            .map_err(|_| wrong("needs microseconds since 1970"))?;
        return Ok(Term {
            field,
            operator,
            text: String::new(),
            number,
        });
    }
    if !matches!(operator, Operator::Equal | Operator::NotEqual) {
        return Err(wrong("compares texts, which only = and != can"));
    }
    let text = value
        .strip_prefix('"')
        .and_then(|value| value.strip_suffix('"'))
        .ok_or_else(|| wrong("needs its value in quotation marks"))?;
    Ok(Term {
        field,
        operator,
        text: text.to_owned(),
        number: 0,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fits(filter: &str) -> bool {
        let transfer = Transfer {
            kind: "charge".into(),
            job_id: "job_7".into(),
            counterparty: "acc_2".into(),
            at_us: 100,
            ..Transfer::default()
        };
        Filter::parse(filter).unwrap().fits(&transfer)
    }

    #[test]
    fn every_term_must_fit() {
        for fitting in [
            "",
            "kind = \"charge\"",
            "kind=\"charge\" AND job_id = \"job_7\" AND counterparty != \"acc_3\"",
            "at_us >= 100 AND at_us <= 100 AND at_us > 99 AND at_us < 101",
        ] {
            assert!(fits(fitting), "{fitting}");
        }
        for other in [
            "kind = \"grant\"",
            "kind != \"charge\"",
            "kind = \"charge\" AND at_us > 100",
            "at_us < 100",
        ] {
            assert!(!fits(other), "{other}");
        }
    }

    #[test]
    fn what_is_no_filter_is_refused_with_an_example() {
        for wrong in [
            "kind",
            "kind = charge",
            "kind < \"charge\"",
            "at_us = \"1\"",
            "at_us = 1 OR at_us = 2",
            "amount = 5",
            "kind ! \"x\"",
            "kind = \"a\" AND ",
            &["at_us > 1"; 17].join(" AND "),
        ] {
            assert_eq!(Filter::parse(wrong).unwrap_err().field, "filter", "{wrong}");
        }
    }
}
