//! What keys and their end users have spent today, and what their jobs may still cost.
//!
//! Pure: no clock, no lock, no task. Invariants:
//! - what is bound was let in under every limit that was in force, but for what the market added since;
//! - a total of a day only grows, and stays unreported until billing has taken that very total;
//! - the number of lines and of end users is bounded; nobody is forgotten while something of his is bound or unreported.

use std::collections::{BTreeMap, HashMap};
use std::ops::Bound;

use domain::{Credits, KeyId, Timestamp};

use super::UserHash;
use crate::identity::SpendingTerms;

/// The most lines of keys that are metered at once: as many as keys are remembered.
pub(super) const LINES_MAX: usize = 65_536;
/// The most end users of one line that are told apart on a day.
pub(super) const USERS_PER_LINE_MAX: usize = 10_000;
/// The most end users in all: some tens of megabytes.
pub(super) const USERS_MAX: usize = 262_144;

const MICROS_PER_DAY: u64 = 86_400_000_000;

/// A day (UTC), counted from 1970.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Day(pub(super) u32);

impl Day {
    /// The day of a moment.
    pub(super) fn of(at: Timestamp) -> Self {
        Self(u32::try_from(at.as_micros().div_euclid(MICROS_PER_DAY)).unwrap_or(u32::MAX))
    }

    /// Its first moment.
    pub(super) fn start(self) -> Timestamp {
        Timestamp::from_micros(u64::from(self.0).saturating_mul(MICROS_PER_DAY))
    }
}

/// Whose spending: a line's, or one of its end users'.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Spender {
    /// The line.
    pub(super) line: KeyId,
    /// The end user; none for the line itself.
    pub(super) user: Option<UserHash>,
}

/// What somebody spent on a day.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Total {
    pub(super) spender: Spender,
    pub(super) day: Day,
    pub(super) spent: Credits,
}

impl Total {
    /// Where it stands among those that billing has not heard.
    pub(super) const fn place(&self) -> (Spender, Day) {
        (self.spender, self.day)
    }
}

/// Which limit it was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Whose {
    Key,
    User,
}

/// Why a bid may not be placed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refused {
    /// It could cost more than is left of a limit.
    Limit {
        whose: Whose,
        limit: Credits,
        spent: Credits,
        bound: Credits,
    },
    /// There are as many end users as are told apart.
    TooManyUsers(Whose),
    /// There are as many lines as are metered.
    TooManyLines,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Use {
    spent: Credits,
    bound: Credits,
}

#[derive(Debug, Default)]
struct Line {
    day: Day,
    whole: Use,
    users: HashMap<UserHash, Use>,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Meter {
    lines: HashMap<KeyId, Line>,
    users: usize,
    /// The day to which all lines were last rolled to make room for end users.
    rolled: Day,
    unreported: BTreeMap<(Spender, Day), Credits>,
}

impl Use {
    fn check(self, whose: Whose, limit: Option<Credits>, cost: Credits) -> Result<(), Refused> {
        let Some(limit) = limit else { return Ok(()) };
        let Self { spent, bound } = self;
        let after = spent.checked_add(bound).and_then(|sum| sum.checked_add(cost));
        if after.is_some_and(|after| after <= limit) {
            return Ok(());
        }
        Err(Refused::Limit {
            whose,
            limit,
            spent,
            bound,
        })
    }

    fn is_nothing(self) -> bool {
        self == Self::default()
    }
}

fn plus(sum: Credits, more: Credits) -> Credits {
    sum.checked_add(more).unwrap_or(Credits::MAX)
}

fn less(sum: Credits, gone: Credits) -> Credits {
    sum.checked_sub(gone).unwrap_or(Credits::ZERO).max(Credits::ZERO)
}

impl Line {
    /// Begins the day anew, if it is a later one. What is bound stays bound.
    fn roll(&mut self, day: Day) -> usize {
        if day <= self.day {
            return 0;
        }
        self.day = day;
        self.whole.spent = Credits::ZERO;
        let before = self.users.len();
        self.users.retain(|_, user| {
            user.spent = Credits::ZERO;
            !user.is_nothing()
        });
        before - self.users.len()
    }

    fn uses(&mut self, user: Option<UserHash>) -> impl Iterator<Item = &mut Use> {
        let user = user.and_then(|user| self.users.get_mut(&user));
        std::iter::once(&mut self.whole).chain(user)
    }
}

impl Meter {
    /// Whether the line is metered already: its totals need not be asked for.
    pub(super) fn knows(&self, line: KeyId) -> bool {
        self.lines.contains_key(&line)
    }

    /// Begins to meter a line with what billing knows of the day.
    pub(super) fn seed(
        &mut self,
        line: KeyId,
        day: Day,
        totals: impl IntoIterator<Item = (Option<UserHash>, Credits)>,
    ) -> Result<(), Refused> {
        if self.knows(line) {
            return Ok(());
        }
        self.make_room();
        if self.lines.len() >= LINES_MAX {
            return Err(Refused::TooManyLines);
        }
        let mut seeded = Line {
            day,
            ..Line::default()
        };
        for (user, spent) in totals {
            match user {
                None => seeded.whole.spent = spent,
                Some(user) => {
                    let spent = Use {
                        spent,
                        ..Use::default()
                    };
                    seeded.users.insert(user, spent);
                }
            }
        }
        // What was not reported when the line was last forgotten cannot be: such lines are not forgotten.
        self.users = self.users.saturating_add(seeded.users.len());
        self.lines.insert(line, seeded);
        Ok(())
    }

    /// Binds what a bid may cost, if its line and its end user may spend it today.
    pub(super) fn bind(
        &mut self,
        terms: SpendingTerms,
        user: Option<UserHash>,
        cost: Credits,
        day: Day,
    ) -> Result<(), Refused> {
        self.roll(terms.line, day);
        if user.is_some() {
            self.make_room_for_users(day);
        }
        let users = self.users;
        let Some(line) = self.lines.get_mut(&terms.line) else {
            return Err(Refused::TooManyLines);
        };
        line.whole.check(Whose::Key, terms.key_per_day, cost)?;
        if let Some(user) = user {
            let known = line.users.get(&user).copied();
            if known.is_none() && line.users.len() >= USERS_PER_LINE_MAX {
                return Err(Refused::TooManyUsers(Whose::Key));
            }
            if known.is_none() && users >= USERS_MAX {
                return Err(Refused::TooManyUsers(Whose::User));
            }
            known
                .unwrap_or_default()
                .check(Whose::User, terms.user_per_day, cost)?;
            if known.is_none() {
                self.users = self.users.saturating_add(1);
                line.users.insert(user, Use::default());
            }
        }
        for used in line.uses(user) {
            used.bound = plus(used.bound, cost);
        }
        Ok(())
    }

    /// Binds more or less than was bound: `from` becomes `to`.
    pub(super) fn rebind(&mut self, spender: Spender, from: Credits, to: Credits) {
        let Some(line) = self.lines.get_mut(&spender.line) else {
            return;
        };
        for used in line.uses(spender.user) {
            used.bound = plus(less(used.bound, from), to);
        }
        if let Some(user) = spender.user
            && line.users.get(&user).is_some_and(|used| used.is_nothing())
        {
            line.users.remove(&user);
            self.users = self.users.saturating_sub(1);
        }
    }

    /// Notes what was paid.
    pub(super) fn spend(&mut self, spender: Spender, paid: Credits, day: Day) {
        if paid <= Credits::ZERO {
            return;
        }
        self.roll(spender.line, day);
        let Some(line) = self.lines.get_mut(&spender.line) else {
            return;
        };
        let day = line.day;
        for used in line.uses(spender.user) {
            used.spent = plus(used.spent, paid);
        }
        let mut totals = vec![(None, line.whole.spent)];
        totals.extend(
            spender
                .user
                .and_then(|user| Some((Some(user), line.users.get(&user)?.spent))),
        );
        for (user, spent) in totals {
            let spender = Spender { user, ..spender };
            self.unreported.insert((spender, day), spent);
        }
    }

    /// Totals that billing has not heard, in the order of spenders and days, from behind one of them on.
    pub(super) fn unreported(&self, after: Option<(Spender, Day)>, most: usize) -> Vec<Total> {
        let from = after.map_or(Bound::Unbounded, Bound::Excluded);
        let totals = self.unreported.range((from, Bound::Unbounded)).take(most);
        let total = |(&(spender, day), &spent): (&(Spender, Day), &Credits)| Total { spender, day, spent };
        totals.map(total).collect()
    }

    /// Notes that billing has taken these totals; one that has grown meanwhile is reported again.
    pub(super) fn reported(&mut self, totals: &[Total]) {
        for total in totals {
            let place = total.place();
            if self.unreported.get(&place) == Some(&total.spent) {
                self.unreported.remove(&place);
            }
        }
    }

    fn roll(&mut self, line: KeyId, day: Day) {
        if let Some(line) = self.lines.get_mut(&line) {
            self.users = self.users.saturating_sub(line.roll(day));
        }
    }

    /// Forgets end users of days before, also of lines that nobody uses any more, when there are as many as may be. Once
    /// a day: on the same day nobody is left to forget.
    fn make_room_for_users(&mut self, day: Day) {
        if self.users < USERS_MAX || day <= self.rolled {
            return;
        }
        self.rolled = day;
        let gone: usize = self.lines.values_mut().map(|line| line.roll(day)).sum();
        self.users = self.users.saturating_sub(gone);
    }

    /// Forgets lines of which billing knows everything, when there are as many as may be.
    fn make_room(&mut self) {
        if self.lines.len() < LINES_MAX {
            return;
        }
        let unreported = &self.unreported;
        let first = |line: KeyId| Spender { line, user: None };
        self.lines.retain(|&line, state| {
            let next = unreported.range((first(line), Day(0))..).next();
            let reports = next.is_some_and(|((spender, _), _)| spender.line == line);
            reports || state.whole.bound > Credits::ZERO
        });
        self.users = self.lines.values().map(|line| line.users.len()).sum();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TODAY: Day = Day(20_000);
    const LINE: KeyId = KeyId::new(1);

    fn nano(amount: i64) -> Credits {
        Credits::from_nano(amount)
    }

    fn terms(key: Option<i64>, user: Option<i64>) -> SpendingTerms {
        SpendingTerms {
            line: LINE,
            key_per_day: key.map(nano),
            user_per_day: user.map(nano),
        }
    }

    fn hash(number: u32) -> UserHash {
        UserHash::of(LINE, &number.to_string())
    }

    fn spender(user: Option<UserHash>) -> Spender {
        Spender { line: LINE, user }
    }

    fn meter(spent: i64) -> Meter {
        let mut meter = Meter::default();
        meter.seed(LINE, TODAY, [(None, nano(spent))]).unwrap();
        meter
    }

    fn over(whose: Whose, limit: i64, spent: i64, bound: i64) -> Result<(), Refused> {
        Err(Refused::Limit {
            whose,
            limit: nano(limit),
            spent: nano(spent),
            bound: nano(bound),
        })
    }

    #[test]
    fn what_is_spent_what_is_bound_and_what_a_bid_may_cost_together_stay_within_the_limit() {
        let mut meter = meter(30);
        let ten = terms(Some(100), None);
        assert_eq!(
            meter.bind(ten, None, nano(71), TODAY),
            over(Whose::Key, 100, 30, 0)
        );
        assert_eq!(meter.bind(ten, None, nano(70), TODAY), Ok(()));
        assert_eq!(
            meter.bind(ten, None, nano(1), TODAY),
            over(Whose::Key, 100, 30, 70)
        );
        // The job cost 20 of its 70.
        meter.rebind(spender(None), nano(70), nano(0));
        meter.spend(spender(None), nano(20), TODAY);
        assert_eq!(
            meter.bind(ten, None, nano(51), TODAY),
            over(Whose::Key, 100, 50, 0)
        );
        assert_eq!(meter.bind(ten, None, nano(50), TODAY), Ok(()));
    }

    #[test]
    fn a_user_who_has_spent_his_does_not_keep_others_from_theirs() {
        let mut meter = meter(0);
        let each = terms(Some(25), Some(10));
        let (ada, bob) = (Some(hash(1)), Some(hash(2)));
        assert_eq!(meter.bind(each, ada, nano(10), TODAY), Ok(()));
        assert_eq!(
            meter.bind(each, ada, nano(1), TODAY),
            over(Whose::User, 10, 0, 10)
        );
        assert_eq!(meter.bind(each, bob, nano(10), TODAY), Ok(()));
        // The key's own limit stands above the users'.
        let carl = Some(hash(3));
        assert_eq!(
            meter.bind(each, carl, nano(6), TODAY),
            over(Whose::Key, 25, 0, 20)
        );
        assert_eq!(meter.bind(each, carl, nano(5), TODAY), Ok(()));
    }

    #[test]
    fn giants_neither_overflow_nor_slip_through() {
        let mut meter = meter(i64::MAX - 1);
        let most = terms(Some(i64::MAX), Some(i64::MAX));
        assert!(meter.bind(most, None, Credits::MAX, TODAY).is_err());
        assert_eq!(meter.bind(most, Some(hash(1)), nano(1), TODAY), Ok(()));
        assert!(meter.bind(most, Some(hash(1)), nano(1), TODAY).is_err());
        meter.spend(spender(None), Credits::MAX, TODAY);
        assert!(meter.bind(most, None, nano(1), TODAY).is_err());
        // Nothing at all is a limit too.
        let nothing = terms(Some(0), None);
        assert!(meter.bind(nothing, None, nano(1), Day(20_001)).is_err());
    }

    #[test]
    fn at_midnight_the_spending_begins_anew_and_what_is_bound_stays() {
        let mut meter = meter(90);
        let ten = terms(Some(100), Some(100));
        let ada = Some(hash(1));
        assert_eq!(meter.bind(ten, ada, nano(10), TODAY), Ok(()));
        let tomorrow = Day(TODAY.0 + 1);
        let last = Timestamp::from_micros(tomorrow.start().as_micros() - 1);
        assert_eq!((Day::of(last), Day::of(tomorrow.start())), (TODAY, tomorrow));
        assert!(meter.bind(ten, ada, nano(1), Day::of(last)).is_err());
        assert_eq!(meter.bind(ten, ada, nano(90), tomorrow), Ok(()));
        assert!(meter.bind(ten, ada, nano(1), tomorrow).is_err());
        // What ends after midnight is spent on the day on which it ends; a clock that is set back changes no day.
        meter.spend(spender(ada), nano(10), TODAY);
        let totals = meter.unreported(None, 10);
        assert_eq!(totals.len(), 2);
        assert!(
            totals
                .iter()
                .all(|total| total.day == tomorrow && total.spent == nano(10))
        );
    }

    #[test]
    fn a_total_is_reported_until_it_was_taken_as_it_is() {
        let mut meter = meter(5);
        assert_eq!(
            meter.bind(terms(None, Some(9)), Some(hash(1)), nano(9), TODAY),
            Ok(())
        );
        meter.spend(spender(Some(hash(1))), nano(3), TODAY);
        let first = meter.unreported(None, 10);
        let spent: Vec<i64> = first.iter().map(|total| total.spent.as_nano()).collect();
        assert_eq!(spent, [8, 3]);
        meter.spend(spender(Some(hash(1))), nano(2), TODAY);
        meter.reported(&first);
        let second: Vec<i64> = meter
            .unreported(None, 10)
            .iter()
            .map(|total| total.spent.as_nano())
            .collect();
        assert_eq!(second, [10, 5]);
        let second = meter.unreported(None, 10);
        meter.reported(&second);
        assert_eq!(meter.unreported(None, 10), []);
        meter.spend(spender(None), Credits::ZERO, TODAY);
        assert_eq!(meter.unreported(None, 10), []);
    }

    #[test]
    fn a_pass_comes_to_every_total_once_also_to_the_last_while_the_first_grow() {
        let mut meter = Meter::default();
        let of = |number| Spender {
            line: KeyId::new(number),
            user: None,
        };
        for number in 1..=5 {
            meter.seed(of(number).line, TODAY, []).unwrap();
            meter.spend(of(number), nano(1), TODAY);
        }
        let (mut after, mut told) = (None, Vec::new());
        loop {
            let page = meter.unreported(after, 2);
            let Some(last) = page.last() else { break };
            after = Some(last.place());
            told.extend(page.iter().map(|total| total.spender));
            // While billing hears of them, everybody goes on spending.
            for number in 1..=5 {
                meter.spend(of(number), nano(1), TODAY);
            }
            meter.reported(&page);
        }
        assert_eq!(told, [1, 2, 3, 4, 5].map(of));
        assert_eq!(meter.unreported(None, 10).len(), 5);
    }

    #[test]
    fn users_are_told_apart_up_to_a_bound_and_those_who_spend_nothing_are_forgotten() {
        let mut meter = meter(0);
        let each = terms(None, Some(10));
        for number in 0..u32::try_from(USERS_PER_LINE_MAX).unwrap() {
            assert_eq!(meter.bind(each, Some(hash(number)), nano(1), TODAY), Ok(()));
        }
        let refused = Err(Refused::TooManyUsers(Whose::Key));
        let stranger = Some(hash(u32::MAX));
        assert_eq!(meter.bind(each, stranger, nano(1), TODAY), refused);
        // Who is known goes on.
        assert_eq!(meter.bind(each, Some(hash(0)), nano(1), TODAY), Ok(()));
        meter.rebind(spender(Some(hash(1))), nano(1), nano(0));
        assert_eq!(meter.bind(each, stranger, nano(1), TODAY), Ok(()));
        assert_eq!(meter.users, USERS_PER_LINE_MAX);
    }

    #[test]
    fn end_users_of_yesterday_take_no_room_from_those_of_today_whosever_they_are() {
        let mut meter = meter(0);
        let name = |number: usize| {
            let mut bytes = [0; 32];
            bytes[..8].copy_from_slice(&u64::try_from(number).unwrap().to_be_bytes());
            UserHash::from_bytes(bytes)
        };
        // Lines that nobody uses again: of one end user a job still runs.
        for (number, first) in (2..).zip((0..USERS_MAX).step_by(USERS_PER_LINE_MAX)) {
            let users = first..USERS_MAX.min(first + USERS_PER_LINE_MAX);
            let totals = users.map(|user| (Some(name(user)), nano(1)));
            meter.seed(KeyId::new(number), TODAY, totals).unwrap();
        }
        let running = SpendingTerms {
            line: KeyId::new(2),
            ..terms(None, Some(10))
        };
        assert_eq!(meter.bind(running, Some(name(0)), nano(3), TODAY), Ok(()));
        let (each, stranger) = (terms(None, Some(10)), Some(name(USERS_MAX)));
        let refused = Err(Refused::TooManyUsers(Whose::User));
        assert_eq!(meter.bind(each, stranger, nano(1), TODAY), refused);
        let tomorrow = Day(TODAY.0 + 1);
        assert_eq!(meter.bind(each, stranger, nano(1), tomorrow), Ok(()));
        assert_eq!(meter.users, 2);
        assert_eq!(
            meter.bind(running, Some(name(0)), nano(8), tomorrow),
            over(Whose::User, 10, 0, 3)
        );
    }

    #[test]
    fn lines_are_bounded_and_only_those_that_billing_knows_are_forgotten() {
        let mut meter = Meter::default();
        let most = u64::try_from(LINES_MAX).unwrap();
        for number in 0..most {
            meter.seed(KeyId::new(number), TODAY, []).unwrap();
        }
        let of = |number| Spender {
            line: KeyId::new(number),
            user: None,
        };
        meter.spend(of(7), nano(3), TODAY);
        let bound = SpendingTerms {
            line: KeyId::new(8),
            key_per_day: Some(nano(5)),
            user_per_day: None,
        };
        meter.bind(bound, None, nano(5), TODAY).unwrap();
        meter
            .seed(KeyId::new(most), TODAY, [(Some(hash(1)), nano(1))])
            .unwrap();
        let known: Vec<bool> = [6, 7, 8, most]
            .map(|number| meter.knows(KeyId::new(number)))
            .into();
        assert_eq!(known, [false, true, true, true]);
        assert_eq!(meter.users, 1);
    }
}
