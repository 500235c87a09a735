//! A set of eligibility classes of one instrument.

use crate::limits::CLASSES_PER_INSTRUMENT_MAX;

const _: () = assert!(CLASSES_PER_INSTRUMENT_MAX == 4 * 64, "each class has its bit");

/// Class numbers, a bit each.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct ClassSet([u64; 4]);

impl ClassSet {
    /// Puts a class in, or takes it out.
    pub(crate) fn set(&mut self, class: u16, is_member: bool) {
        let word = &mut self.0[usize::from(class >> 6)];
        let bit = 1 << (class & 63);
        *word = if is_member { *word | bit } else { *word & !bit };
    }

    /// The classes, lowest number first.
    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = u16> {
        (0u16..).step_by(64).zip(self.0).flat_map(|(first, word)| {
            let mut left = word;
            std::iter::from_fn(move || {
                let bit = u16::try_from(left.trailing_zeros())
                    .ok()
                    .filter(|bit| *bit < 64)?;
                left &= left - 1;
                Some(first + bit)
            })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_holds_what_was_put_in_and_not_taken_out() {
        let mut set = ClassSet::default();
        for class in [255, 0, 63, 64, 130] {
            set.set(class, true);
        }
        set.set(63, false);
        set.set(7, false);
        assert_eq!(set.iter().collect::<Vec<_>>(), [0, 64, 130, 255]);
    }
}
